#include "access.h"

#include <CLI/CLI.hpp>

#include "home.h"

namespace writ::cli {

void Access::AddOptions(CLI::App& command) {
  command.add_option("--plane", address_.url,
                     "URL of a plane elsewhere (default: the plane of --dir on this machine)");
  command.add_option("--token-file", address_.token_file,
                     "File with the principal's token for --plane");
  command.add_option("--plane-ca", address_.ca_file,
                     "PEM file with the CA of --plane's certificate");
}

std::string Access::Arguments() const {
  std::string out;
  for (const auto& [name, value] : {std::pair{" --plane ", &address_.url},
                                    {" --token-file ", &address_.token_file},
                                    {" --plane-ca ", &address_.ca_file}})
    if (!value->empty()) out += name + ShellWord(*value);
  return out;
}

Result<std::unique_ptr<Requester>> Access::Open(const Context& context) {
  if (!local()) return MakeRemoteRequester(address_, LocalUser(), clock_);
  if (!address_.token_file.empty())
    return Error{ErrorKind::kInvalid, "cli.token_without_plane", "--token-file goes with --plane",
                 ""};
  WRIT_ASSIGN(plane_, OpenPlane(context.dir, clock_));
  return MakeLocalRequester(*plane_, LocalUser());
}

}  // namespace writ::cli
