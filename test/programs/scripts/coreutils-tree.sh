# run: bash
# timeout: 300
# A tree of 10,000 files: find, sort, sha256sum, cp -a, tar czf and back, du, rm -rf.
set -e
mkdir tree; cd tree
for d in $(seq 0 99); do mkdir -p d$((d / 10))/e$((d % 10)); done
for d in $(seq 0 99); do
  cd d$((d / 10))/e$((d % 10))
  for f in $(seq 0 99); do echo "file $d $f content" > f$f; done
  cd ../..
done
cd ..
find tree -type f | wc -l
find tree -type d | wc -l
find tree -type f -name 'f7' | sort | head -3
find tree -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
cp -a tree copy; diff -r tree copy && echo "copy is the same"
tar czf t.tgz tree; tar tzf t.tgz | wc -l
mkdir out; tar xzf t.tgz -C out; diff -r tree out/tree && echo "archive is the same"
find tree -type f -exec cat {} + | sort | uniq | wc -l
grep -r "file 42 " tree | wc -l
find copy -name 'f1*' -delete; find copy -type f | wc -l
mv tree moved; ls moved | wc -l
ls -R moved | wc -l
find moved -type f -newer t.tgz | wc -l
chmod -R go-rwx moved; find moved -perm 600 -type f | wc -l
rm -rf moved copy out; ls
