# One image for every command: docker run IMAGE up|serve|node|control ...
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
# Models that change the case of text (StringNormalizer) ask for this locale by name.
RUN apt-get update -q && apt-get install -q -y --no-install-recommends locales \
 && localedef -i en_US -f UTF-8 --no-archive en_US.UTF-8
# pip and what builds the package stand in an environment of their own, which stays behind.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/understudy
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The dependencies come first and by themselves, so that a change of code does not install them again.
COPY requirements.txt requirements-build.txt ./
RUN /opt/build/bin/pip install --no-deps --require-hashes --only-binary :all: -r requirements-build.txt \
 && /opt/build/bin/pip --python /opt/understudy/bin/python \
    install --no-deps --require-hashes --only-binary :all: -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY router router
COPY control control
COPY understudy understudy
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && /opt/build/bin/pip --python /opt/understudy/bin/python install --no-deps --no-index dist/*.whl \
 && /opt/build/bin/pip --python /opt/understudy/bin/python check

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home understudy \
 && mkdir -p /models /state && chown understudy /state
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
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=1)"]
ENTRYPOINT ["understudy"]
CMD ["up"]
