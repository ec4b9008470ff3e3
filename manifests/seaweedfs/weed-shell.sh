# weed-shell.sh COMMAND...: run commands of weed shell, with the lock of the cluster. Whether they
# failed is to be seen in what the shell says, too.
set -eu
said=/tmp/said
status=0
{
    echo lock
    printf '%s\n' "$@"
    echo unlock
    echo exit
} | weed shell -master="$MASTERS" > "$said" 2>&1 || status=1
cat "$said"
if grep -Eiq '^error|panic:|unknown command' "$said"; then status=1; fi
exit "$status"
