# One image for every command: docker run IMAGE up|serve|node|control ...
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/understudy
COPY constraints-runtime.txt ./
# The dependencies come first and by themselves, so that a change of code does not install them again.
RUN /opt/understudy/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r constraints-runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY router router
COPY control control
COPY understudy understudy
RUN /opt/understudy/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home understudy \
 && mkdir -p /models /state && chown understudy /state
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    UNDERSTUDY_MODELS=/models \
    UNDERSTUDY_STATE_DIR=/state
USER 10001
WORKDIR /state
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=1)"]
ENTRYPOINT ["understudy"]
CMD ["up"]
