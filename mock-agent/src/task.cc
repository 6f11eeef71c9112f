#include "task.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "proxy_probe.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::mock {

void Say(int fd, const std::string& text) {
  (void)WriteAll(fd, text).has_value();
}

int DoTask(const std::string& prompt) {
  Say(1, "mock agent received task: " + prompt + "\n");
  const char* secret = std::getenv("MOCK_SECRET");
  const bool present = secret != nullptr && *secret != '\0';
  UniqueFd file(::open("MOCK_AGENT.md", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!file || !WriteAll(file.get(), "## task\n" + prompt +
                                         "\n\nsecret:" + (present ? "present" : "absent") + "\n")) {
    Say(2, "mock agent cannot write MOCK_AGENT.md\n");
    return 1;
  }
  if (prompt.find("network") != std::string::npos)
    Say(1, "network probe status: " + ProbeThroughProxy() + "\n");
  if (prompt.find("fail") != std::string::npos) {
    Say(2, "mock agent failing as instructed\n");
    return 1;
  }
  Say(1, "mock agent done\n");
  return 0;
}

}  // namespace writ::mock
