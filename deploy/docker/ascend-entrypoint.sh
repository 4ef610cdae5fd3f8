#!/bin/bash
# Takes the environment of CANN, wherever this version of it is, and becomes the command.
root=${ASCEND_ROOT:-/usr/local/Ascend}
driver=$root/driver/lib64
export LD_LIBRARY_PATH="$driver:$driver/common:$driver/driver:$driver/base:${LD_LIBRARY_PATH:-}"
for script in "$root/cann/set_env.sh" "$root/ascend-toolkit/set_env.sh" "$root/nnrt/set_env.sh"; do
  if [ -r "$script" ]; then
    # shellcheck disable=SC1090
    source "$script"
    exec "$@"
  fi
done
echo "ascend-entrypoint: no set_env.sh of CANN under $root; is this image built on CANN's?" >&2
exit 78
