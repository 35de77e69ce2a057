# syntax=docker/dockerfile:1
# The worker and one pack:  docker build --build-arg PACK=pi -t …:pi-v1 .
# The base, by the digest of the index of all its platforms, which never becomes another image.
# A newer one:  docker buildx imagetools inspect python:3.12-slim-bookworm
ARG BASE=python:3.12-slim-bookworm@sha256:54c85f3c47607a77f32adec749d3c81d1348bf25833671f512b26a9b6d778cb3

# What the pack declares, read without installing it.
FROM ${BASE} AS declaration
ARG BASE
ARG PACK
WORKDIR /app
RUN pip install --no-cache-dir "pip>=25.1"
COPY pyproject.toml requirements.lock ./
RUN pip install --no-cache-dir pluggy pydantic --constraint requirements.lock
COPY taskpacks/*.py taskpacks/
COPY taskpacks/${PACK}/ taskpacks/${PACK}/
RUN python -c "from taskpacks import manager; image = manager.load('${PACK}').spec.image; image.base in (None, '${BASE}') or exit(f'${PACK} declares another image.base: add --build-arg BASE={image.base}'); print(*image.apt, sep='\n')" > /apt.txt

FROM ${BASE}
ARG PACK
COPY --from=declaration /apt.txt /apt.txt
RUN apt-get update \
    && xargs --no-run-if-empty --arg-file=/apt.txt apt-get install --yes --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /apt.txt
WORKDIR /app
COPY pyproject.toml requirements.lock ./
COPY taskpacks/${PACK}/ taskpacks/${PACK}/
RUN pip install --no-cache-dir "pip>=25.1" \
    && touch taskpacks/${PACK}/requirements.txt \
    && pip install --no-cache-dir --group worker --constraint requirements.lock \
        --requirement taskpacks/${PACK}/requirements.txt
COPY taskpacks/*.py taskpacks/
COPY worker/ worker/
RUN useradd --system worker
USER worker
# For programs in Python that tasks start; the worker sets up its own output.
ENV PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1
CMD ["python", "-m", "worker"]
