#!/usr/bin/env bash
# Run a command as root under a user-mode Linux: bench/uml.sh KERNEL 'COMMAND'
#
# It sees this machine's file system and changes nothing in it: what it writes is thrown away, but
# for what it writes to bench/results. bench/uml.config says how KERNEL is built. MEMORY=2G.
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

outside() {
    local kernel=$1 project job status=0
    shift
    [ -x "$kernel" ] || { echo "uml.sh: '$kernel' is no program: name a kernel (see bench/uml.config)" >&2; exit 2; }
    project=$(cd "$(dirname "$0")/.." && pwd)
    job=$(mktemp -d /tmp/shaper-uml.XXXXXX)
    trap 'rm -rf "$job"' EXIT
    mkdir -p "$project/bench/results"
    printf 'cd %q && %s\n' "$project" "$*" >"$job/command"
    # What UML itself says goes to a file; the first console is the standard output.
    TMPDIR=/dev/shm GLIBC_TUNABLES=glibc.pthread.rseq=0 \
        "$kernel" mem="${MEMORY:-2G}" root=/dev/root rootfstype=hostfs rootflags=/ ro quiet loglevel=0 \
        init="$project/bench/uml.sh" UML_PROJECT="$project" UML_JOB="$job" \
        con=null con0=null,fd:3 3>&1 </dev/null >"$job/log" 2>&1 || true
    [ -s "$job/status" ] || { tail -20 "$job/log" >&2; echo "uml.sh: the kernel did not finish" >&2; exit 125; }
    read -r status <"$job/status"
    exit "$status"
}

inside() {
    local root=/mnt/root status=0
    mount -t proc proc /proc
    mount -t tmpfs -o size=80% tmpfs /mnt
    mkdir /mnt/upper /mnt/work $root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay $root
    mount -t proc proc $root/proc
    mount -t sysfs sysfs $root/sys
    mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
    mount -t devtmpfs devtmpfs $root/dev
    mkdir -p $root/dev/pts $root/dev/shm $root/dev/net "$root$UML_JOB"
    mount -t devpts devpts $root/dev/pts
    mount -t tmpfs tmpfs $root/dev/shm
    mount -t tmpfs tmpfs $root/run
    [ -e $root/dev/net/tun ] || mknod -m 666 $root/dev/net/tun c 10 200
    [ -e $root/dev/ppp ] || mknod -m 600 $root/dev/ppp c 108 0
    ln -sfn /proc/self/fd $root/dev/fd
    ln -sfn fd/0 $root/dev/stdin
    ln -sfn fd/1 $root/dev/stdout
    ln -sfn fd/2 $root/dev/stderr
    mount -t hostfs -o "$UML_JOB" none "$root$UML_JOB"
    mount -t hostfs -o "$UML_PROJECT/bench/results" none "$root$UML_PROJECT/bench/results"
    ip link set lo up
    stty -opost
    HOME=/tmp chroot $root setsid bash "$UML_JOB/command" 2>&1 </dev/null | cat || status=$?
    echo $status >"$root$UML_JOB/status"
    sync
    echo o >$root/proc/sysrq-trigger
    sleep 20
}

if [ $$ = 1 ] && [ -n "${UML_JOB:-}" ]; then inside; fi
[ $# -ge 2 ] || { sed -n '2,5s,^# \{0\,1\},,p' "$0" >&2; exit 2; }
outside "$@"
