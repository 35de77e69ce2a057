"""The container images that workers run: given, pushed by hand, or built with the stack."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_docker_build as docker_build

from taskpacks.errors import RefusedSettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stack.model import StackContext
    from stack.settings import Deployment

PLATFORMS: Final = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
KEPT_IMAGES_PER_PACK: Final = 50
UNTAGGED_DAYS: Final = 7
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
LIFECYCLE_RULES_MAX: Final = 50

_ROOT: Final = Path(__file__).parents[1]
# What .dockerignore lets through, but for the packs: a change here changes every image.
_COMMON: Final = (
    "Dockerfile",
    ".dockerignore",
    "pyproject.toml",
    "requirements.lock",
    "taskpacks/*.py",
    "worker/**/*",
)
_ECR: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<name>[^:@]+)"
)


def ecr_repository_arn(uri: str, partition: str) -> str | None:
    """The ARN of an image's repository; None when it is not in ECR."""
    found = _ECR.match(uri)
    if not found:
        return None
    return f"arn:{partition}:ecr:{found['region']}:{found['account']}:repository/{found['name']}"


def lifecycle(packs: Iterable[str]) -> dict[str, Any]:
    """Keeps each pack's newest images: one busy pack never pushes out another's.

    ECR takes `LIFECYCLE_RULES_MAX` rules; packs beyond that keep all their images.
    """
    untagged = {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": UNTAGGED_DAYS,
    }
    newest = [
        {
            "tagStatus": "tagged",
            "tagPrefixList": [f"{pack}-"],
            "countType": "imageCountMoreThan",
            "countNumber": KEPT_IMAGES_PER_PACK,
        }
        for pack in sorted(set(packs))
    ]
    selections = [untagged, *newest][:LIFECYCLE_RULES_MAX]
    return {
        "rules": [
            {"rulePriority": priority, "selection": selection, "action": {"type": "expire"}}
            for priority, selection in enumerate(selections, start=1)
        ]
    }


def content_digest(pack: str, root: Path = _ROOT) -> str:
    """Twelve hex digits of all that goes into a pack's image, which make its tag immutable.

    Args:
        pack: A pack whose folder is in this checkout.
        root: The checkout.

    Raises:
        RefusedSettingsError: The pack is no folder here, so that its image cannot be built.
    """
    if not (root / "taskpacks" / pack).is_dir():
        raise RefusedSettingsError(
            f"taskpacks:build_images: the pack '{pack}' is installed and not a folder of this "
            "checkout, so its image cannot be built here; build it where the pack lives and "
            "give each of its deployments image: {uri: ...}."
        )
    digest = hashlib.sha256()
    for file in _inputs(pack, root):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def _inputs(pack: str, root: Path) -> Iterator[Path]:
    for pattern in (*_COMMON, f"taskpacks/{pack}/**/*"):
        for file in sorted(root.glob(pattern)):
            if file.is_file() and not {"__pycache__", "tests"} & set(file.parts):
                yield file


def build_arguments(pack: str, base: str | None) -> dict[str, str]:
    """The Dockerfile's arguments; without a base it takes its own."""
    return {"PACK": pack, **({"BASE": base} if base else {})}


@dataclass(frozen=True, kw_only=True)
class ImageRepositoryArgs:
    """Whose images, and whether the stack builds them.

    Attributes:
        deployments: All of the stack.
        tag: Which build runs, for images that are pushed by hand: their tag is PACK-TAG.
        build: Build and push with the stack, one image per pack and architecture.
        context: The stack's.
    """

    deployments: tuple[Deployment, ...]
    tag: str
    build: bool
    context: StackContext


class ImageRepository(pulumi.ComponentResource):
    """One repository for a stack's worker images.

    Consists of: an ECR repository whose tags never change and that scans on push, its
    lifecycle policy, and, where the stack builds, an image per pack and architecture.
    """

    url: pulumi.Output[str]

    def __init__(
        self, name: str, args: ImageRepositoryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("taskpacks:stack:ImageRepository", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        self._args = args
        self._repository = aws.ecr.Repository(
            f"{name}-repository",
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            # Every image can be built again from the checkout: none holds up a `destroy`.
            force_delete=True,
            opts=child,
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=self._repository.name,
            policy=json.dumps(lifecycle(each.pack.name for each in args.deployments)),
            opts=child,
        )
        self.url = self._repository.repository_url
        self._built = self._build(name) if args.build else {}
        self.register_outputs({"url": self.url})

    def image(self, deployment: Deployment) -> pulumi.Output[str]:
        """The URI of the image that a deployment's workers run."""
        if deployment.spec.image.uri:
            return pulumi.Output.from_input(deployment.spec.image.uri)
        pack = deployment.pack.name
        if self._args.build:
            return self._built[pack, deployment.spec.resources.architecture]
        return self.url.apply(lambda url: f"{url}:{pack}-{self._args.tag}")

    def repository_arn(self, deployment: Deployment) -> pulumi.Output[str | None]:
        """The ECR repository of that image; None when it comes from elsewhere."""
        if uri := deployment.spec.image.uri:
            return pulumi.Output.from_input(ecr_repository_arn(uri, self._args.context.partition))
        return self._repository.arn.apply(lambda arn: arn)

    def _build(self, name: str) -> dict[tuple[str, str], pulumi.Output[str]]:
        token = aws.ecr.get_authorization_token_output(
            registry_id=self._repository.registry_id, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        wanted = {
            (each.pack.name, each.spec.resources.architecture): each.spec.image.base
            for each in self._args.deployments
            if not each.spec.image.uri
        }
        built: dict[tuple[str, str], pulumi.Output[str]] = {}
        for (pack, architecture), base in sorted(wanted.items()):
            tag = f"{pack}-{architecture}-{content_digest(pack)}"
            image = docker_build.Image(
                f"{name}-{pack}-{architecture}",
                # Relative to the project's folder: the same on every machine that deploys.
                context={"location": "."},
                dockerfile={"location": "Dockerfile"},
                build_args=build_arguments(pack, base),
                platforms=[docker_build.Platform(PLATFORMS[architecture])],
                tags=[pulumi.Output.concat(self.url, ":", tag)],
                push=True,
                build_on_preview=False,
                registries=[
                    {
                        "address": self.url,
                        "username": token.user_name,
                        "password": pulumi.Output.secret(token.password),
                    }
                ],
                opts=pulumi.ResourceOptions(parent=self),
            )
            built[pack, architecture] = image.ref
        return built
