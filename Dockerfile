# One image for every command: docker run IMAGE up|serve|node|control ...
# What it stands on: Debian 12 (or another with glibc 2.28 or newer, dpkg and apt) whose python3 is Python 3.11. The digest
# is that of all platforms.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

# The base with a user, and without what installs packages of Python or lends somebody root.
FROM ${BASE} AS lean
RUN useradd --uid 10001 --create-home understudy \
 && mkdir -p /models /state && chown understudy /state \
 && { dpkg-query -W -f '${Package}\n' 'python3*-venv' 'python3-*-whl' 2>/dev/null | xargs -r dpkg --purge; } \
 && rm -rf /usr/local/lib/python3*/site-packages /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip /usr/local/bin/pip* /usr/local/bin/wheel \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +

FROM ${BASE} AS build
WORKDIR /src
# Models that change the case of text (StringNormalizer) ask for this locale by name.
RUN apt-get update -q && apt-get install -q -y --no-install-recommends locales \
 && localedef -i en_US -f UTF-8 --no-archive en_US.UTF-8
# pip, what builds the package and what lists its parts stand in an environment of their own, which stays behind.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/understudy
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The dependencies come first and by themselves, so that a change of code does not install them again. A pip.conf that is
# given as a secret says which index is asked (docs/image.md).
COPY requirements.txt requirements-build.txt ./
COPY deploy/image deploy/image
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip install --no-deps --require-hashes --only-binary :all: \
    -r requirements-build.txt -r deploy/image/requirements.txt \
 && /opt/build/bin/pip download --no-deps --require-hashes --only-binary :all: -d /opt/build/wheels -r requirements.txt \
 && /opt/build/bin/pip --python /opt/understudy/bin/python \
    install --no-compile --no-deps --no-index /opt/build/wheels/*.whl \
 && /opt/build/bin/python deploy/image/slim.py /opt/understudy/lib/python3*/site-packages
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY router router
COPY control control
COPY understudy understudy
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && /opt/build/bin/pip --python /opt/understudy/bin/python \
    install --no-compile --no-deps --no-index dist/*.whl \
 && /opt/build/bin/pip --python /opt/understudy/bin/python check \
 && /opt/understudy/bin/python -m compileall -q -j 0 /opt/understudy/lib
COPY --from=lean /var/lib/dpkg/status /opt/build/packages
RUN /opt/build/bin/python deploy/image/sbom.py /opt/build/wheels dist/*.whl /opt/build/packages > /opt/understudy/sbom.cdx.json

FROM lean
COPY --from=build /opt/understudy /opt/understudy
COPY --from=build /usr/lib/locale/en_US.utf8 /usr/lib/locale/en_US.utf8
ENV PATH=/opt/understudy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    UNDERSTUDY_MODELS=/models \
    UNDERSTUDY_STATE_DIR=/state
USER 10001
WORKDIR /state
VOLUME /state
EXPOSE 8000 8001
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('UNDERSTUDY_PORT', '8000') + '/v2/health/live', timeout=1)"]
ENTRYPOINT ["understudy"]
CMD ["up"]
