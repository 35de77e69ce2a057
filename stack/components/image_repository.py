"""The container images that workers run: given, pushed by hand, or built with the stack."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_docker_build as docker_build

from stack.build_context import FOLDER, ROOT, build_files, content_digest, write_context
from stack.documents.registry import ecr_repository_arn, lifecycle

if TYPE_CHECKING:
    from stack.model import Deployment, StackContext

PLATFORMS: Final = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
# What the stack itself pushes, as PACK-ARCHITECTURE-…: job definitions name it by its digest.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
BUILT_TAGS: Final = tuple(f"*-{architecture}-*" for architecture in PLATFORMS)


def build_arguments(pack: str, base: str | None) -> dict[str, str]:
    """The Dockerfile's arguments; without a base it takes its own."""
    return {"PACK": pack, **({"BASE": base} if base else {})}


def cache_in_ecr(ref: pulumi.Input[str]) -> docker_build.CacheToRegistryArgsDict:
    """Where a build leaves its layers for the next one, in the one form that ECR takes.

    https://aws.amazon.com/blogs/containers/announcing-remote-cache-support-in-amazon-ecr-for-buildkit-clients/
    """
    return {
        "ref": ref,
        "mode": docker_build.CacheMode.MAX,  # the layers of all stages
        "image_manifest": True,
        "oci_media_types": True,
        "ignore_error": True,  # the image is there then: the next build only takes longer
    }


def tag_mutability(*, build: bool) -> dict[str, Any]:
    """Which tags may be pushed a second time: those of the stack's own builds, no others.

    A change that is taken back leads to a tag that is there already, and so does an `up` that is
    repeated after it was interrupted; each build also overwrites its cache.
    """
    if not build:
        return {"image_tag_mutability": "IMMUTABLE"}
    return {
        "image_tag_mutability": "IMMUTABLE_WITH_EXCLUSION",
        "image_tag_mutability_exclusion_filters": [
            {"filter": tags, "filter_type": "WILDCARD"} for tags in BUILT_TAGS
        ],
    }


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

    Consists of: an ECR repository that scans on push and where tags that people push never
    change, its lifecycle policy, and, where the stack builds, an image per pack and architecture.
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
            **tag_mutability(build=args.build),
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
            files, arguments = build_files(pack), build_arguments(pack, base)
            content = content_digest(files, arguments)
            # Relative to the project's folder: the same on every machine that deploys. Named for
            # the content: what one `up` builds, another that runs beside it never changes.
            context = f"{FOLDER}/{pack}-{content}"
            write_context(files, ROOT / context)
            cache = pulumi.Output.concat(self.url, f":{pack}-{architecture}-cache")
            image = docker_build.Image(
                f"{name}-{pack}-{architecture}",
                context={"location": context},
                dockerfile={"location": f"{context}/Dockerfile"},
                build_args=arguments,
                platforms=[docker_build.Platform(PLATFORMS[architecture])],
                cache_from=[{"registry": {"ref": cache}}],
                cache_to=[{"registry": cache_in_ecr(cache)}],
                tags=[pulumi.Output.concat(self.url, f":{pack}-{architecture}-{content}")],
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
            # Of the two forms that ECS documents (with a tag, with a digest), the one that lasts:
            # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
            built[pack, architecture] = pulumi.Output.concat(self.url, "@", image.digest)
        return built
