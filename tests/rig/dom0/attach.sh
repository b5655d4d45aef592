# Sourced. attach <slot> gives the virtio disk in that PCI slot to its driver and prints the device's path.
attach() {
    local bus=/sys/bus/virtio d
    for d in /sys/bus/pci/devices/0000:00:$1.0/virtio*; do
        [ -e "$d/block" ] || echo "${d##*/}" >$bus/drivers/virtio_blk/bind
        echo /dev/"$(ls "$d/block")"
    done
}
