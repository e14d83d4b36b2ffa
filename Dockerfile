# One image for every part of Outrider: `docker run outrider orchestrator|router|ui|agent ...`.
# The tags are exact; for a build that can be repeated to the byte, add the digest that your registry shows.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/outrider
# Everything with its hash. Wheels only, but for nkeys, which has none and is built with the setuptools of the
# lock file. These layers change only with that file.
COPY requirements.lock /build/
RUN grep -A2 '^setuptools==' /build/requirements.lock > /build/setuptools.lock \
 && /opt/outrider/bin/pip install --require-hashes --no-deps --only-binary :all: -r /build/setuptools.lock \
 && /opt/outrider/bin/pip install --require-hashes --no-deps --only-binary :all: --no-binary nkeys \
      --no-build-isolation -r /build/requirements.lock
COPY . /build/
RUN /opt/outrider/bin/pip install --no-index --no-deps --no-build-isolation /build \
 && /opt/outrider/bin/pip uninstall --yes setuptools wheel pip \
 && /opt/outrider/bin/python -m compileall -q /opt/outrider/lib

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Outrider" \
      org.opencontainers.image.description="Runs a fleet of AI agents over NATS" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# libgomp1 is for the local language model.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /var/lib/outrider --shell /usr/sbin/nologin outrider
COPY --from=build /opt/outrider /opt/outrider
ENV PATH=/opt/outrider/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OUTRIDER_STATE=/var/lib/outrider
USER 10001
WORKDIR /var/lib/outrider
ENTRYPOINT ["outrider"]
CMD ["--help"]
