"""ECR: image repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from local.engine.handlers.base import (
    AutoName,
    Handler,
    Resource,
    Tagging,
    Update,
    Values,
    only,
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
    service = "ecr"
    auto_name = AutoName(max_length=256, lower=True)
    capitalised = False
    tagging = Tagging(arn="repository/")
    properties: ClassVar[Mapping[str, Property]] = {
        "name": Property(api="repositoryName", replaces=True),
        "encryptionConfigurations": Property(
            replaces=True, fields={"encryptionType": Property(), "kmsKey": Property()}
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

    def create(self, cloud: Cloud, inputs: Mapping[str, Any]) -> str:
        parameters = self.api(without(inputs, "encryptionConfigurations", "tags"))
        if encryption := inputs.get("encryptionConfigurations"):
            parameters["encryptionConfiguration"] = encryption[0]
        cloud.client("ecr").create_repository(**parameters, tags=tag_list(inputs.get("tags")))
        return inputs["name"]

    def read(self, cloud: Cloud, resource: Resource) -> Values | None:
        ecr = cloud.client("ecr")
        found = ecr.describe_repositories(repositoryNames=[resource.id])["repositories"][0]
        tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        return {
            **self.wire(found),
            "encryptionConfigurations": [found.get("encryptionConfiguration", {})],
            **tagged(tag_map(tags)),
            "arn": found["repositoryArn"],
            "registryId": found["registryId"],
            "repositoryUrl": found["repositoryUri"],
        }

    def modify(self, cloud: Cloud, change: Update) -> None:
        ecr = cloud.client("ecr")
        mutability = ("imageTagMutability", "imageTagMutabilityExclusionFilters")
        if change.changed.intersection(mutability):
            given = {"imageTagMutability": "MUTABLE", **only(change.new, mutability)}
            ecr.put_image_tag_mutability(repositoryName=change.id, **self.api(given))
        if "imageScanningConfiguration" in change.changed:
            ecr.put_image_scanning_configuration(
                repositoryName=change.id, **self.wanted(change.new, ["imageScanningConfiguration"])
            )

    def delete(self, cloud: Cloud, resource: Resource) -> None:
        cloud.client("ecr").delete_repository(
            repositoryName=resource.id, force=bool(resource.inputs.get("forceDelete"))
        )
