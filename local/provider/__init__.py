"""The local engine's handlers as a provider plug-in, for the real Pulumi CLI.

With this folder first on PATH the CLI takes `pulumi-resource-aws` from here: the real engine then
deploys to the cloud on this machine, with the code that the local engine makes resources with.
"""
