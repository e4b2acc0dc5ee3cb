#!/usr/bin/env bash
# A Ray node on this host, in the foreground. Ctrl-C or SIGTERM ends this node and no other that runs here.
#     node.sh head [HOST:PORT] [option of `ray start` ...]      default: this host's own address, port 6379
#     node.sh worker HOST:PORT [option of `ray start` ...]      waits for the head if it is not there yet
# $RL_DISTILL_INTERFACE names the network interface on which hosts find each other, where there are several.
set -euo pipefail
launch="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
HEAD_SECONDS=600 # that a worker waits for the head

refuse() {
    printf 'node.sh: %s\n' "$*" >&2
    exit 2
}
is_address() { [[ "$1" =~ ^[^:/]+:[0-9]+$ ]]; }
answers() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

role="${1:-}"
shift || true
case "$role" in head | worker) ;; *) refuse "say head, or worker HOST:PORT" ;; esac
# shellcheck source=scripts/launch/ray_environment.sh
source "$launch/ray_environment.sh"

address=""
if [ $# -gt 0 ] && [[ "$1" != -* ]]; then
    is_address "$1" || refuse "'$1' is no HOST:PORT"
    address="$1"
    shift
fi
if [ "$role" = head ]; then
    [ -n "$address" ] || address="$(python "$launch/address.py"):6379"
    ! answers "$address" || refuse "something listens at $address already; name another port: node.sh head HOST:PORT"
    place=(--head --port="${address##*:}" --node-ip-address="${address%:*}" --include-dashboard=false)
    printf 'node.sh: the address of this cluster is %s\n' "$address"
else
    [ -n "$address" ] || refuse "say where the head is: worker HOST:PORT"
    for ((second = 0; second < HEAD_SECONDS; second++)); do
        ! answers "$address" || break
        sleep 1
    done
    answers "$address" || refuse "nothing answers at $address"
    own="$(python "$launch/address.py" --peer "${address%:*}")"
    place=(--address="$address" --node-ip-address="$own")
fi

# A folder for this node alone: another user's or another cluster's files are not in the way. Its path is short, for paths of
# sockets must be.
folder="$(mktemp -d "${RAY_TMPDIR:-/tmp}/ray-XXXXXX")"
stopped=""
cpus="$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" # what this process may use; threads of its arithmetic are another matter
ray start "${place[@]}" --temp-dir="$folder" --num-cpus="$cpus" --disable-usage-stats --block "$@" &
node=$!
trap 'stopped=yes; kill -TERM "$node" 2>/dev/null || true' TERM INT
code=0
wait "$node" || code=$?
[ -z "$stopped" ] || wait "$node" || true
if [ -n "$stopped" ] || [ "$code" = 0 ]; then
    rm -rf "$folder"
    exit 0
fi
printf 'node.sh: the node ended with code %s; its logs are in %s\n' "$code" "$folder" >&2
exit "$code"
