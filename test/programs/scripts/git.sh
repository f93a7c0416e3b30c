# run: bash
# needs: git
# timeout: 240
# git from init to gc: objects, index, branches, merges, log, stash, archive, fsck, clone over a path.
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000' GIT_CONFIG_NOSYSTEM=1
git init -q -b main repo; cd repo; git config gc.auto 0
for i in $(seq 200); do mkdir -p d$((i % 10)); echo "line $i" > d$((i % 10))/f$i; done
git add .; git commit -q -m first; git log --format='%H %s'; git status --short; git ls-files | wc -l
echo change >> d1/f1; git diff --stat; git commit -qam second; git rev-parse HEAD; git show --stat --format=%s
git checkout -q -b side HEAD~1; echo side > side.txt; git add side.txt; git commit -qm side; git checkout -q main; git merge -q side -m merge; git log --oneline --graph | cat
for i in $(seq 20); do echo $i >> log; git add log; git commit -qm "c$i"; done; git log --oneline | wc -l
git mv d2/f2 moved; git rm -q d3/f3; git commit -qm moved; git show --stat --format=%s -M | cat; echo dirty >> log; git stash -q; git stash list; git stash pop -q; git checkout -q -- log
git tag -a v1 -m tag; git describe; git archive --format=tar HEAD | tar tf - | wc -l; git blame log | wc -l; git grep -c 'line 1' | wc -l
git gc -q; git count-objects -v | grep -E 'in-pack|packs'; git fsck; echo "fsck $?"; git clone -q . ../copy; cd ../copy; git log -1 --format=%H; git bisect start > /dev/null; git bisect bad > /dev/null; git bisect good HEAD~5 2>/dev/null | tail -1 | cut -c1-8; git bisect reset -q 2>/dev/null; git bisect reset 2>/dev/null
git rebase -q HEAD~2; git reflog | wc -l; git worktree add -q ../wt side 2>/dev/null || git worktree add -q ../wt HEAD; ls ../wt | wc -l; git push -q origin HEAD:refs/heads/pushed; git ls-remote . | wc -l; git -C ../repo branch | sort
