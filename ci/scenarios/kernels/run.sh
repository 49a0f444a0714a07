. /lib.sh

step on
echo "root: uname=$(uname -r)"
resources
monitor_on

# Cells' names have no dots.
for image in vmlinuz-*; do
    name=${image#vmlinuz-}
    cell=$(echo "$name" | tr . -)
    step "$name"
    sed -e "s/^name = .*/name = \"$cell\"/" -e "s/^image = .*/image = \"$image\"/" \
        /scenario/cell.toml > "$cell.toml"
    cell_up "$cell" "$cell.toml"
    tell "$cell" 60 'seq 1 200000 | sha256sum | sed "s/ .*//; s/^/sum=/"'
    run cellctl destroy "$cell"
    resources
done

step off
run cellctl disable
unload
resources
pass
