# weed-shell.sh COMMAND...: run commands of weed shell, with the lock of the cluster. The shell ends
# with 0 whatever became of a command, so what it says decides: an error in it fails the job.
set -eu
said=/tmp/said
{
    echo lock
    printf '%s\n' "$@"
    echo unlock
    echo exit
} | weed shell -master="$MASTERS" > "$said" 2>&1
cat "$said"
! grep -Eiq '^error|panic:|unknown command' "$said"
