#!/bin/bash
# Measures what building costs: each arm's release build from an empty target folder, how many crates
# are compiled for it, and its size without symbols. Writes build-costs.tsv, which the report shows.
# It takes long (burn alone half an hour on two cores). Its minutes are true only when nothing else runs;
# the processor time is hardly another beside other work.
# Arms may be named: then only they are built, and what is known of others stays.
set -eu
cd "$(dirname "$0")"
arms=${*:-warmstart meganeura burn}
for arm in $arms; do
    case $arm in
    warmstart | meganeura | burn) ;;
    *)
        echo "there is no arm \`$arm\`: name some of warmstart, meganeura and burn" >&2
        exit 1
        ;;
    esac
done

cargo fetch
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
written=$folder/build-costs.tsv
echo "# arm	crates	seconds	processor seconds	bytes" >"$written"

for arm in warmstart meganeura burn; do
    case " $arms " in
    *" $arm "*) ;;
    *)
        [ ! -f build-costs.tsv ] || grep "^$arm	" build-costs.tsv >>"$written" || true
        continue
        ;;
    esac
    # What appears again in the tree has a mark there.
    crates=$(cargo tree -p "peers-$arm" -e normal,build --prefix none --format '{p}' |
        sed 's/ (\*)$//' | sort -u | wc -l)
    # Its own output goes past what `time` writes.
    exec 3>&2
    costs=$({ TIMEFORMAT='%R %U %S'; time cargo build --release -p "peers-$arm" \
        --target-dir "$folder/$arm" 2>&3; } 2>&1)
    exec 3>&-
    read -r seconds user system <<<"$costs"
    processor=$(awk "BEGIN { print $user + $system }")
    program=$folder/$arm/release/peers-$arm
    strip "$program"
    bytes=$(wc -c <"$program")
    printf '%s\t%d\t%.0f\t%.0f\t%d\n' "$arm" "$crates" "$seconds" "$processor" "$bytes" >>"$written"
    rm -rf "${folder:?}/$arm"
done
mv "$written" build-costs.tsv
cat build-costs.tsv
