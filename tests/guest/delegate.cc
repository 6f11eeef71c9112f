// delegate GROUP: marks a cgroup as delegated, as systemd does (setfattr -n user.delegate -v 1).
#include <sys/xattr.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2 || ::setxattr(argv[1], "user.delegate", "1", 1, 0) != 0) {
    std::perror("delegate");
    return 1;
  }
  return 0;
}
