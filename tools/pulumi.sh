#!/bin/sh
# Builds the Pulumi CLI of the version that tools/pulumi/go.mod names: sh tools/pulumi.sh FILE.
# It is for tests: it has no host for programs in Python, so it runs inline programs only.
set -eu

module=github.com/pulumi/pulumi/pkg/v3
case $1 in /*) target=$1 ;; *) target=$PWD/$1 ;; esac

command -v go >/dev/null || {
    echo 'pulumi: there is no go on PATH; install Go (https://go.dev/dl), or the Pulumi CLI itself' >&2
    exit 1
}
cd "$(dirname "$0")/pulumi"
version=$(go list -m -f '{{.Version}}' "$module")
echo "pulumi: building $version (a few minutes the first time)" >&2
# Pulumi's own releases set the version in the same way.
go build -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=$version" \
    -o "$target" "$module/cmd/pulumi"
touch "$target" # go leaves a file that would be the same as it is
