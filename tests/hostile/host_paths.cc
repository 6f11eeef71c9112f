#include "hostile/host_paths.h"

#include <unistd.h>

#include <iterator>
#include <sstream>

#include "support/places.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::test {

std::vector<std::string> HostPathsOf(const std::string& attack) {
  auto pipe = MakePipe();
  SpawnOptions options;
  options.path = BinDir() + "/hostile";
  options.argv = {"hostile"};
  if (::geteuid() == 0) options.argv.insert(options.argv.end(), {"--as", "65534", "65534"});
  options.argv.insert(options.argv.end(), {"--host-paths", attack});
  options.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(options);
  pipe->write_end.reset();
  auto text = ReadAll(pipe->read_end.get(), 1u << 16);
  std::istringstream in(child && text ? *text : "");
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

}  // namespace writ::test
