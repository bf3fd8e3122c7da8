# The first stage builds the wheel and its dependencies. The second stage keeps only the virtual environment.
FROM python:3.13-slim AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/mimic
COPY pyproject.toml requirements.lock README.md LICENSE CHANGELOG.md ./
COPY mimic ./mimic
COPY seed ./seed
# The lock file also pins the packages of the tests; as constraints it installs only Mimic's dependencies.
# --build-arg EXTRAS=[otel] adds the packages for traces.
ARG EXTRAS=""
RUN /opt/mimic/bin/pip install --constraint requirements.lock ".$EXTRAS"

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home mimic
COPY --from=build /opt/mimic /opt/mimic
ENV PATH=/opt/mimic/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MIMIC_HOST=0.0.0.0 \
    MIMIC_STORE=sqlite:////data/mimic.db
USER mimic
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.getenv('MIMIC_PORT', '8000')}/health\", timeout=2)"]
ENTRYPOINT ["mimic"]
CMD ["serve"]
