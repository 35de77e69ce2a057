"""ECR: image repositories and how long they keep images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Update,
    Values,
    dropped_tags,
    tag_list,
    tag_map,
    tagged,
    without,
)
from local.engine.properties import REGION, TAGS, Property

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.engine.cloud import Cloud


class Repository(Handler):
    """A repository. Its id is its name."""

    resource_type = "aws:ecr/repository:Repository"
    auto_name = AutoName(max_length=256, lower=True)
    capitalised = False
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="repositoryName", replaces=True),
        "encryptionConfigurations": Property(
            replaces=True,
            fields={"encryptionType": Property(), "kmsKey": Property()},
        ),
        "forceDelete": Property(engine_only=True, default=False),
        "imageScanningConfiguration": Property(
            default={"scanOnPush": False}, fields={"scanOnPush": Property()}
        ),
        "imageTagMutability": Property(default="MUTABLE"),
        "imageTagMutabilityExclusionFilters": Property(
            default=(), fields={"filter": Property(), "filterType": Property()}
        ),
        "tags": TAGS,
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Makes the repository."""
        parameters = self.api(without(inputs, "encryptionConfigurations", "tags"))
        if encryption := inputs.get("encryptionConfigurations"):
            parameters["encryptionConfiguration"] = encryption[0]
        cloud.client("ecr").create_repository(**parameters, tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Describes the repository and lists its tags."""
        del inputs
        ecr = cloud.client("ecr")
        found = ecr.describe_repositories(repositoryNames=[resource_id])["repositories"][0]
        tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        return {
            **self.wire(found),
            "encryptionConfigurations": [found.get("encryptionConfiguration", {})],
            **tagged(tag_map(tags)),
            "arn": found["repositoryArn"],
            "registryId": found["registryId"],
            "repositoryUrl": found["repositoryUri"],
        }

    def update(self, cloud: Cloud, change: Update) -> str:
        """Sets mutability, scanning and tags."""
        ecr, name = cloud.client("ecr"), change.id
        if {"imageTagMutability", "imageTagMutabilityExclusionFilters"} & set(change.changed):
            filters = change.new.get("imageTagMutabilityExclusionFilters")
            ecr.put_image_tag_mutability(
                repositoryName=name,
                **self.api(self.wanted(change.new, ["imageTagMutability"])),
                **({"imageTagMutabilityExclusionFilters": filters} if filters else {}),
            )
        if "imageScanningConfiguration" in change.changed:
            ecr.put_image_scanning_configuration(
                repositoryName=name,
                **self.api(self.wanted(change.new, ["imageScanningConfiguration"])),
            )
        if "tags" in change.changed:
            arn = change.outputs.get("arn") or cloud.arn("ecr", f"repository/{name}")
            if dropped := dropped_tags(change):
                ecr.untag_resource(resourceArn=arn, tagKeys=dropped)
            if tags := change.new.get("tags"):
                ecr.tag_resource(resourceArn=arn, tags=tag_list(tags))
        return name

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the repository; with images in it only if it says so."""
        del outputs
        cloud.client("ecr").delete_repository(
            repositoryName=resource_id, force=bool(inputs.get("forceDelete"))
        )


class LifecyclePolicy(Handler):
    """Which images a repository drops. Its id is the repository's name."""

    resource_type = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    capitalised = False
    delete_before_replace = True
    properties: ClassVar[Mapping[str, Property]] = {
        "repository": Property(api="repositoryName", replaces=True),
        "policy": Property(api="lifecyclePolicyText", json=True, exact=True),
        "region": REGION,
    }

    def create(self, cloud: Cloud, inputs: Values) -> str:
        """Puts the policy."""
        cloud.client("ecr").put_lifecycle_policy(**self.api(inputs))
        return inputs["repository"]

    def read(self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any]) -> Values | None:
        """Reads the policy."""
        del inputs
        answer = cloud.client("ecr").get_lifecycle_policy(repositoryName=resource_id)
        return {**self.wire(answer), "registryId": answer["registryId"]}

    def update(self, cloud: Cloud, change: Update) -> str:
        """Replaces the policy."""
        return self.create(cloud, dict(change.new))

    def delete(
        self, cloud: Cloud, resource_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """Deletes the policy."""
        del inputs, outputs
        cloud.client("ecr").delete_lifecycle_policy(repositoryName=resource_id)
