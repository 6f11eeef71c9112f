# Sourced, with disk=SIZE set, by tests whose state lies on one small disk: begins the test again in a mount namespace of
# its own, with $state mounted. 77: no small disk can be mounted here.
if [ "${1:-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || { echo "skipped: only root may mount a small disk"; exit 77; }
  unshare --mount --propagation private true 2>/dev/null || { echo "skipped: no mount namespace can be made here"; exit 77; }
  exec unshare --mount --propagation private "$BASH" "$0" inside  # the mounts end with it
fi
. "$(dirname "$0")/../../examples/common.sh"
make_repository
trap 'for pid in "${background[@]:-}"; do [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; done; umount -l "$state" 2>/dev/null || true; clean_up' EXIT
mkdir -m 711 "$state"
mount -t tmpfs -o "size=$disk,mode=0711" writ-small-disk "$state" || { echo "skipped: no small disk can be mounted here"; exit 77; }
