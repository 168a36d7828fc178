#!/usr/bin/env bash
# The container of a task: its program, its image on this node, what it may see. Sourced by launch.sh.
# shellcheck disable=SC2015,SC2034,SC2153,SC2154  # names in capitals come from LAUNCH.CONF; launch.sh has `private` and `program`

readonly READY_S=1800 # to unpack the image, or to wait for another task that does

find_program() {
    local name
    for name in $PROGRAM apptainer singularity; do
        command -v "$name" && return
    done
    return 1
}

check_image() {
    [ -f "$IMAGE" ] || refuse "the image is missing: $IMAGE"
    [ "$(stat -L -c %s "$IMAGE")" = "$IMAGE_BYTES" ] || refuse "the image is not the one that was submitted, or cut off: $IMAGE"
}

count_files() { find -H "$1" | wc -l; }
# Cleaners of scratch remove what is old, file by file: what is left of an unpacked image must not run.
is_whole() { [ -d "$1" ] && [ "$(count_files "$1")" = "$(cat "$1.files" 2>/dev/null)" ]; }

# Other tasks of this node may run from a damaged one: it is moved aside, and removed once nobody uses it.
unpack() {
    say "unpacking the image to $2" >&2
    rm -rf "$2.new" "$2.files"
    [ ! -e "$2" ] || mv -T "$2" "$2.stale.$BASHPID" || return 1
    timeout "$READY_S" "$program" --silent build --sandbox "$2.new" "$1" >&2 && count_files "$2.new" >"$2.files" && mv -T "$2.new" "$2" && return
    rm -rf "$2.new"
    return 1
}

# Unpack the image once per node; the lock is on the node's own disk, where flock is reliable.
unpacked() {
    local root target
    root=$SCRATCH/msbatch-$(id -u)
    target=$root/${IMAGE_SHA256:0:16}
    mkdir -p "$root" && [ -O "$root" ] && [ ! -L "$root" ] || return 1
    exec 9>"$root/lock" && flock -w "$READY_S" 9 || return 1
    flock -n "$target.use" rm -rf "$target".stale.*
    is_whole "$target" || unpack "$IMAGE" "$target" || return 1
    exec 9>&-
    echo "$target"
}

# What the task may see of this node, and nothing else.
container_options() {
    local path file hop
    options=(exec --cleanenv --contain --no-home --pwd / --bind "$private:/tmp" --bind "$RUN" --bind "$CODE:$CODE:ro")
    for path in "$STORE" "$WEIGHTS"; do [ ! -e "$path" ] || options+=(--bind "$path:$path:ro"); done
    for path in "$WEIGHTS"/*; do # a hub's cache keeps files elsewhere, behind several links: the file lies where the first one points
        [ -L "$path" ] && [ -e "$path" ] && file=$(readlink -f "$path") && hop=$(cd "$WEIGHTS" && realpath -ms "$(readlink "$path")") || continue
        [[ $hop != "$WEIGHTS"/* ]] || hop=$file
        options+=(--bind "$file:$hop:ro")
    done
    for path in ${BINDS[@]+"${BINDS[@]}"}; do options+=(--bind "$path"); done
    [ "$GPUS" = 0 ] || options+=(--nv)
}

# The names of Slurm that submitit reads, and what the task is told; --cleanenv drops everything else.
export_to_container() {
    local name
    unset "${!APPTAINERENV_@}" "${!SINGULARITYENV_@}" APPTAINER_BIND APPTAINER_BINDPATH SINGULARITY_BIND SINGULARITY_BINDPATH
    for name in SUBMITIT_EXECUTOR SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_NTASKS SLURM_PROCID \
        SLURM_LOCALID SLURM_NODEID SLURM_JOB_NUM_NODES SLURM_JOB_NODELIST SLURM_RESTART_COUNT CUDA_VISIBLE_DEVICES \
        MSBATCH_LAUNCH MSBATCH_OWNER MSBATCH_NODES MSBATCH_NODE_RANK PYTHONPATH PYTHONSAFEPATH HF_HUB_OFFLINE GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME; do
        [ -z "${!name+set}" ] || export "APPTAINERENV_$name=${!name}" "SINGULARITYENV_$name=${!name}"
    done
}
