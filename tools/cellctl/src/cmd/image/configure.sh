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

# Files of the machine that makes the image. The tree's own shell writes them: links in
# it lead to places in it.
printf '%s' "$IMAGE_FILES" | while read -r number mode owner target; do
    # shellcheck disable=SC2016 # That shell's own.
    chroot "$tree" sh -ec 'mkdir -p "${3%/*}"; umask 077; cat > "$3"; chown "$2:" "$3"; chmod "$1" "$3"' \
        sh "$mode" "$owner" "$target" < "$IMAGE_STAGE/$number"
done

# What each copy does once. What fails is tried again at the next boot.
if [ -e "$tree/usr/local/sbin/first-boot" ]; then
    cat > "$tree/etc/systemd/system/first-boot.service" << 'end'
[Unit]
Description=What this system does once
After=network.target
ConditionPathExists=/usr/local/sbin/first-boot

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/first-boot
ExecStartPost=rm /usr/local/sbin/first-boot
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
end
    chroot "$tree" systemctl enable --quiet first-boot.service
fi
