#!/bin/sh
# What the image's first boot does, here as a node that learns its name from the kernel's
# command line.
node=$(sed -n 's/.*cell\.node=\([^ ]*\).*/\1/p' /proc/cmdline)
echo "$node" > /etc/node
echo "cell: first boot as $node, munge's key: $(stat -c '%U %a' /etc/munge/munge.key)"
