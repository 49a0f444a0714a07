# Configures a new Debian tree for its first boot in a cell. mmdebstrap runs it with
# the tree's folder; all else is in the environment, checked.
set -eu
tree=$1

echo "$IMAGE_HOSTNAME" > "$tree/etc/hostname"
printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n' "$IMAGE_HOSTNAME" > "$tree/etc/hosts"
echo "UUID=$IMAGE_UUID / ext4 errors=remount-ro 0 1" > "$tree/etc/fstab"

# The user, whose way in is the key.
chroot "$tree" useradd --create-home --shell /bin/bash --groups sudo "$IMAGE_USER"
home=$tree/home/$IMAGE_USER
mkdir -m 700 "$home/.ssh"
printf '%s\n' "$IMAGE_KEYS" > "$home/.ssh/authorized_keys"
chroot "$tree" chown -R "$IMAGE_USER:$IMAGE_USER" "/home/$IMAGE_USER/.ssh"
echo "$IMAGE_USER ALL=(ALL:ALL) NOPASSWD: ALL" > "$tree/etc/sudoers.d/$IMAGE_USER"
chmod 440 "$tree/etc/sudoers.d/$IMAGE_USER"

printf '%s' "$IMAGE_NETWORK" > "$tree/etc/systemd/network/50-ethernet.network"
chroot "$tree" systemctl enable --quiet systemd-networkd.service systemd-resolved.service
ln -sf ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"

# What must be another in each copy of the image is made when it boots.
: > "$tree/etc/machine-id"
rm -f "$tree/var/lib/dbus/machine-id" "$tree"/etc/ssh/ssh_host_*_key*
mkdir -p "$tree/etc/systemd/system/ssh.service.d"
printf '[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n' \
    > "$tree/etc/systemd/system/ssh.service.d/host-keys.conf"
