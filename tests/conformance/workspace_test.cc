// The workspace as a job finds it, and what it leaves there: the same in every tier.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>

#include "conformance/conformance_suite.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;

// Every name below `root` with its kind, mode and content, as a runner reads it afterwards.
std::map<std::string, std::string> Listed(const std::string& root) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    struct stat st {};
    EXPECT_EQ(::lstat(entry.path().c_str(), &st), 0);
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", st.st_mode & 07777);
    std::string& what = out[entry.path().lexically_relative(root)];
    if (S_ISLNK(st.st_mode))
      what = "link " + fs::read_symlink(entry.path()).string();
    else if (S_ISDIR(st.st_mode))
      what = std::string("folder ") + mode;
    else if (S_ISREG(st.st_mode))
      what = std::string("file ") + mode + " " + std::to_string(st.st_nlink) + " " +
             ReadFile(entry.path(), 1 << 20).value_or("unreadable").substr(0, 40);
    else
      what = std::string("special ") + mode;
  }
  return out;
}

TEST_P(Conformance, ShowsTheWorkspaceAndLetsTheJobChangeAllOfIt) {
  job_.WriteWorkspaceFile("read.txt", "as it was");
  job_.WriteWorkspaceFile("changed.txt", "before");
  job_.WriteWorkspaceFile("removed.txt", "gone soon");
  job_.WriteWorkspaceFile("script.sh", "#!/bin/sh\necho ran $1\n");
  JobRun run =
      Sh("cat read.txt && ./script.sh it && echo after > changed.txt && rm removed.txt && "
         "mkdir -p made/deep && echo new > made/deep/file && mv made moved && ln -s moved/deep "
         "link && "
         "ls -A | sort | tr '\\n' ' '");
  EXPECT_EQ(run.out, "as it wasran it\nchanged.txt link moved read.txt script.sh ") << run.err;
  EXPECT_EQ(job_.ReadWorkspaceFile("changed.txt"), "after\n");
  EXPECT_EQ(job_.ReadWorkspaceFile("moved/deep/file"), "new\n");
  EXPECT_FALSE(fs::exists(job_.workspace() + "/removed.txt"));
}

// What a runner collects does not depend on the tier: names, kinds, modes, bytes, links.
TEST_P(Conformance, LeavesTheSameOutputAsAnyOtherBackend) {  // L14
  job_.WriteWorkspaceFile("base.txt", "base");
  JobRun run =
      Sh("umask 022; printf '\\000\\377\\n' > binary; printf x > 'a name with blanks'; "
         "printf y > \"$(printf 'new\\nline')\"; printf z > \"$(printf 'caf\\303\\251')\"; "
         "printf v > \"$(printf '\\377raw')\"; "
         "printf '#!/bin/sh\\n' > tool && chmod 755 tool; printf s > secret && chmod 600 secret; "
         "printf h > one && ln one two; ln -s base.txt soft; ln -s /etc/passwd out; ln -s nowhere "
         "dangling; mkfifo pipe; mkdir -m 755 empty; mkdir -m 700 closed; printf in > closed/file; "
         "head -c 100000 /dev/zero > zeros; : > nothing; printf more >> base.txt");
  ASSERT_EQ(run.outcome.kind, backends::Outcome::Kind::kExited) << run.err;
  const std::map<std::string, std::string> expected = {
      {"base.txt", "file 0755 1 basemore"},
      {"binary", std::string("file 0644 1 \0\xff\n", 15)},
      {"a name with blanks", "file 0644 1 x"},
      {"new\nline", "file 0644 1 y"},
      {"caf\xc3\xa9", "file 0644 1 z"},
      {"\xffraw", "file 0644 1 v"},
      {"tool", "file 0755 1 #!/bin/sh\n"},
      {"secret", "file 0600 1 s"},
      {"one", "file 0644 2 h"},
      {"two", "file 0644 2 h"},
      {"soft", "link base.txt"},
      {"out", "link /etc/passwd"},
      {"dangling", "link nowhere"},
      {"pipe", "special 0644"},
      {"empty", "folder 0755"},
      {"closed", "folder 0700"},
      {"closed/file", "file 0644 1 in"},
      {"zeros", "file 0644 1 " + std::string(40, '\0')},
      {"nothing", "file 0644 1 "},
  };
  EXPECT_EQ(Listed(job_.workspace()), expected);
}

}  // namespace
}  // namespace writ::test
