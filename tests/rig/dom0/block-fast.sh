#!/bin/sh
# Hotplug script for a target that already is a block device, with none of the stock script's sharing checks
# (two virtual disks over one image are a test case here). The backend is the kernel's blkback as ever.
[ "$1" = add ] || exit 0
p=$(xenstore-read "$XENBUS_PATH/params")
xenstore-write "$XENBUS_PATH/physical-device" "$(stat -L -c %t:%T "$p")" \
    "$XENBUS_PATH/physical-device-path" "$p" "$XENBUS_PATH/hotplug-status" connected
