"""Stacks that together use every option there is; a test counts them."""

from __future__ import annotations

import itertools
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
SECRETS_KEY = "arn:aws:kms:eu-west-1:210987654321:key/55555555-4444-3333-2222-111111111111"
SECRETS = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pi-AbCdEf"
PARAMETER = "arn:aws:ssm:eu-west-1:123456789012:parameter/pi"
THEIR_SECRET = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:theirs-AbCdEf"
THEIR_QUEUE = "arn:aws:sqs:eu-west-1:210987654321:done"
THEIR_IMAGE = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/theirs:v7"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/ours:v7"

CONFIGS: dict[str, dict[str, Any]] = {
    "as little as possible": {
        "aws:region": "us-east-1",
        "taskpacks:packs": {"pi": {}, "csv_sort": {}, "video_encoding": {}},
    },
    "a key of your own, NAT, everything overridden": {
        "aws:region": "eu-west-1",
        "taskpacks:egress": "nat",
        "taskpacks:owner": "media-team",
        "taskpacks:machine_image_generation": 2,
        "taskpacks:image_tag": "2024.1",
        "taskpacks:kms_key": KEY,
        "taskpacks:uri_schemes": ["s3"],
        "taskpacks:notify": ["ops@example.com", "https://example.com/hook"],
        "taskpacks:packs": {
            "pi-urgent": {
                "pack": "pi",
                "resources": {
                    "processes": 2,
                    "vcpus": 0.5,
                    "memory_mib": 1024,
                    "platform": "fargate",
                    "architecture": "arm64",
                    "purchase": "on_demand",
                    "scratch_gib": 30,
                    "max_vcpus": 4,
                },
                "scaling": {
                    "mode": "alarms",
                    "cap": "halt",
                    "low_depth": 1,
                    "low_workers": 2,
                    "high_depth": 20,
                    "high_workers": 4,
                    "start_within_seconds": 300,
                    "startup_seconds": 60,
                    "idle_seconds": 0,
                    "worker_lifetime_seconds": 7200,
                },
                "queue": {
                    "visibility_timeout_seconds": 60,
                    "max_attempts": 2,
                    "max_receives": 5,
                    "retry_backoff_seconds": 1,
                    "retry_backoff_max_seconds": 30,
                    "retention_seconds": 3600,
                    "task_time_limit_seconds": 600,
                    "stop_grace_seconds": 5,
                    "escalate_to": "pi",
                    "escalate_on": ["memory", "time_limit"],
                },
                "sends_to": ["pi"],
                "store_arguments": True,
                "permissions": {
                    "allow_wildcard": True,
                    "read": ["s3://inbox/raw/"],
                    "write": ["s3://outbox/done/"],
                    "statements": [
                        {
                            "Effect": "Allow",
                            "Action": ["sns:Publish"],
                            "Resource": ["arn:aws:sns:eu-west-1:123456789012:done"],
                        }
                    ],
                },
                "environment": {"DIGITS": "1000"},
                "secrets": {"TOKEN": SECRETS, "SALT": PARAMETER},
                "app": "shop.celery:app",
                "tasks": ["shop.pi.*"],
            },
            "pi": {
                "image": {"uri": IMAGE},
                "resources": {"purchase": "spot"},
                "scaling": {
                    "mode": "controller",
                    "max_workers": 20,
                    "drain_within_seconds": 1800,
                    "task_seconds": 5,
                    "wake_on_send": True,
                    "break_even": 2,
                    "round_seconds": 15,
                    "breaker_failures": 3,
                    "breaker_cooldown_seconds": 600,
                    "vcpu_hours_per_day": 10,
                    "cap": "stop",
                },
            },
        },
    },
    "EC2 in subnets of your own, images built": {
        "aws:region": "us-east-1",
        "taskpacks:build_images": True,
        "taskpacks:subnet_ids": ["subnet-0123456789abcdef0"],
        "taskpacks:security_group_ids": ["sg-0123456789abcdef0"],
        "taskpacks:assign_public_ip": True,
        "taskpacks:packs": {
            "encode-gpu": {
                "pack": "video_encoding",
                "resources": {
                    "platform": "ec2",
                    "gpus": 1,
                    "vcpus": 8,
                    "memory_mib": 16384,
                    "architecture": "x86_64",
                    "scratch_gib": 21,
                },
            },
            "sort": {
                "pack": "csv_sort",
                "resources": {
                    "platform": "ec2",
                    "vcpus": 4,
                    "memory_mib": 16384,
                    "architecture": "arm64",
                    "purchase": "spot",
                    "instance_types": ["m7g.4xlarge", "c7g"],
                    "scratch_gib": 21,
                },
            },
        },
    },
    "public, with machines of all kinds": {
        "aws:region": "us-east-1",
        "taskpacks:egress": "public",
        "taskpacks:share_compute_environments": True,
        "taskpacks:data": "delete",
        "taskpacks:drain_on_delete_seconds": 60,
        "taskpacks:packs": {
            "pi": {"resources": {"purchase": "spot_then_on_demand"}},
            "sort": {
                "pack": "csv_sort",
                "resources": {"purchase": "spot_then_on_demand", "scratch_gib": 200},
            },
            "sort-urgent": {
                "pack": "csv_sort",
                "resources": {"purchase": "spot_then_on_demand", "scratch_gib": 200},
            },
        },
    },
    "endpoints for everything": {
        "aws:region": "eu-west-1",
        "taskpacks:egress": "endpoints",
        "taskpacks:kms_key": KEY,
        "taskpacks:secret_key_arns": [SECRETS_KEY],
        "taskpacks:packs": {
            "pi": {
                "image": {"uri": THEIR_IMAGE},
                "secrets": {"TOKEN": SECRETS, "SALT": PARAMETER, "THEIRS": THEIR_SECRET},
                "permissions": {
                    "read": ["s3://inbox/raw/"],
                    "write": ["s3://outbox/done/"],
                    "statements": [
                        {
                            "Effect": "Allow",
                            "Action": "sqs:SendMessage",
                            "Resource": THEIR_QUEUE,
                        },
                    ],
                },
            },
            "sort": {
                "pack": "csv_sort",
                "resources": {
                    "platform": "ec2",
                    "vcpus": 4,
                    "memory_mib": 16384,
                    "scratch_gib": 21,
                },
            },
        },
    },
}


def options(model: type[BaseModel], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every field below a model, by its path, with its type."""
    found: dict[tuple[str, ...], Any] = {}
    for name, declared in model.model_fields.items():
        kind, path = declared.annotation, (*above, name)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= options(kind, path)
        else:
            found[path] = kind
    return found


def words(kind: Any) -> tuple[str, ...]:
    """The words of a Literal; none for other types."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def given() -> set[tuple[str, ...]]:
    """Every path below a deployment that some configuration sets; values at the end of each."""
    packs = (config["taskpacks:packs"] for config in CONFIGS.values())
    deployments = itertools.chain.from_iterable(each.values() for each in packs)
    return set(itertools.chain.from_iterable(_paths(each) for each in deployments))


def _paths(value: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [above, (*above, str(value))]
    inner = [_paths(below, (*above, key)) for key, below in value.items()]
    return [above, *itertools.chain.from_iterable(inner)]
