"""The container images that workers run."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws


class ImageRepository(pulumi.ComponentResource):
    """One repository for a stack's worker images; an image's tag is PACK-TAG.

    Consists of: an ECR repository that scans on push.
    """

    arn: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("taskpacks:stack:ImageRepository", name, None, opts)
        repository = aws.ecr.Repository(
            f"{name}-repository",
            image_scanning_configuration={"scan_on_push": True},
            # Every image can be built again from the checkout: none holds up a `destroy`.
            force_delete=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = repository.arn
        self.url = repository.repository_url
        self.register_outputs({"url": self.url})

    def image(self, pack: str, tag: str) -> pulumi.Output[str]:
        """The URI of a pack's image."""
        return self.url.apply(lambda url: f"{url}:{pack}-{tag}")
