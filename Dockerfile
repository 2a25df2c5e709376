# autotl's command line, as a user without privileges; write to the volume /data:
#   docker build -t autotl .
#   docker run --rm --read-only --tmpfs /tmp -v "$PWD:/data" autotl fit pictures
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/autotl
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY autotl ./autotl
RUN /opt/autotl/bin/pip install -c constraints.txt .

FROM python:3.11.13-slim-bookworm
RUN useradd --create-home --uid 10001 autotl && mkdir /data && chown autotl /data
COPY --from=build /opt/autotl /opt/autotl
ENV PATH=/opt/autotl/bin:$PATH PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
USER autotl
WORKDIR /data
VOLUME /data
ENTRYPOINT ["autotl"]
CMD ["--help"]
