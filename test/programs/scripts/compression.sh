# run: bash
# needs: xz-utils gzip openssl
# xz, gzip, openssl dgst and ciphers, on data of some megabytes.
seq 1 300000 > data; for level in 1 6; do gzip -$level -k -c data | gunzip | cmp - data && echo "gzip $level"; done
xz -1 -k -c data | xz -d | cmp - data && echo xz; xz -T2 -1 -c data | xz -dc | md5sum; gzip -n -c data | md5sum; xz -l <(true) 2>/dev/null; echo corrupt | gunzip; echo "status $?"
openssl dgst -sha256 data; openssl dgst -md5 < data; openssl dgst -sha512 data | cut -c1-40; openssl enc -aes-256-cbc -pbkdf2 -iter 1000 -pass pass:secret -in data -out enc && openssl enc -d -aes-256-cbc -pbkdf2 -iter 1000 -pass pass:secret -in enc | cmp - data && echo cipher
openssl rand -hex 16 | wc -c; openssl genrsa 1024 2>/dev/null | openssl rsa -check -noout 2>&1 | tail -1; openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 1 -subj /CN=test 2>/dev/null; openssl x509 -in cert -noout -subject; openssl version | cut -d' ' -f1
tar cf - data | xz -1 | tar xJOf - | md5sum; tar czf a.tgz data; tar tzf a.tgz; zcat a.tgz | wc -c; zgrep -c 12345 <(gzip -c data); split -b 500k data part.; cat part.* | cmp - data && echo split
