# An image with the wheel, for GPUs and CPUs. Build the wheel first, then the image:
#
#   python -m pip wheel --no-deps --wheel-dir dist .
#   docker build --tag stageinteractor .
#   docker run --rm --gpus all --shm-size 8g --volume "$PWD:/data" stageinteractor \
#       train digits_in_photos train.output_dir=output/demo
#
# `make image-steps` runs these steps without docker.
FROM python:3.11-slim

COPY constraints.txt dist/*.whl /tmp/wheel/
ARG EXTRAS=train,demo,export,fast-eval,hub,remote,sweep
RUN pip install --no-cache-dir --constraint /tmp/wheel/constraints.txt \
    "$(ls /tmp/wheel/*.whl)[$EXTRAS]"
RUN stageinteractor install-detectron2
RUN rm -r /tmp/wheel

# A user without an entry in /etc/passwd: torch asks for its name, others for a folder to cache in.
ENV USER=stageinteractor HOME=/tmp OMP_NUM_THREADS=1
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["stageinteractor"]
CMD ["--help"]
