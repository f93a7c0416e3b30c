# run: bash
# Here-documents of every kind, and a script that writes and runs scripts.
v=value
cat <<A
plain $v $(echo sub) $((1 + 2)) \$escaped
A
cat <<'A'
quoted $v $(no)
A
cat <<-A
	tabs are stripped
	A
cat <<A <<B
first
A
second
B
while read -r l; do echo "> $l"; done <<END
one
two
END
cat > made.sh <<'END'
#!/bin/bash
echo "made: $0 $*" | sed 's/programs-[^/]*/X/'
exit 3
END
chmod +x made.sh; ./made.sh a b; echo $?
python3 - <<'END' 2>/dev/null || echo nopython
print("from a here-document")
END
f() { cat; }; f <<< "x y"; f <<END
in a function
END
x=$(cat <<END
captured
END
); echo "$x"
cat <<END | wc -c
$(head -c 200000 /dev/zero | tr '\0' x)
END
