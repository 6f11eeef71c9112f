#include "access.h"

#include <CLI/CLI.hpp>

#include "duration.h"
#include "home.h"

namespace writ::cli {

void Access::AddOptions(CLI::App& command) {
  command.add_option("--plane", address_.url,
                     "URL of a plane elsewhere (default: the plane of --dir on this machine)");
  command.add_option("--token-file", address_.token_file,
                     "File with the principal's token for --plane");
  command.add_option("--plane-ca", address_.ca_file,
                     "PEM file with the CA of --plane's certificate");
  command.add_option("--client-cert", address_.client_cert_file,
                     "PEM certificate for --plane, where it asks for one");
  command.add_option("--client-key", address_.client_key_file, "PEM key of --client-cert");
  command.add_option("--plane-proxy", address_.proxy, "Corporate proxy on the way to --plane");
  command.add_option("--plane-timeout", plane_timeout_,
                     "How long --plane may take for an answer (default: 1m); moving files and "
                     "waiting for a run take longer");
}

std::string Access::Arguments() const {
  std::string out;
  for (const auto& [name, value] : {std::pair{" --plane ", &address_.url},
                                    {" --token-file ", &address_.token_file},
                                    {" --plane-ca ", &address_.ca_file},
                                    {" --client-cert ", &address_.client_cert_file},
                                    {" --client-key ", &address_.client_key_file},
                                    {" --plane-proxy ", &address_.proxy},
                                    {" --plane-timeout ", &plane_timeout_}})
    if (!value->empty()) out += name + ShellWord(*value);
  return out;
}

Result<std::unique_ptr<Requester>> Access::Open(const Context& context) {
  if (address_.client_cert_file.empty() != address_.client_key_file.empty())
    return Error{ErrorKind::kInvalid, "cli.half_tls", "--client-cert and --client-key go together",
                 ""};
  if (!local() && !plane_timeout_.empty()) {
    auto timeout = ParseDuration(plane_timeout_);
    if (!timeout)
      return Error{ErrorKind::kInvalid, "cli.bad_duration", "--plane-timeout is not a duration",
                   "write it like 5s or 2m"};
    address_.call_timeout = *timeout;
  }
  if (!local()) return MakeRemoteRequester(address_, LocalUser(), clock_);
  if (!address_.token_file.empty())
    return Error{ErrorKind::kInvalid, "cli.token_without_plane", "--token-file goes with --plane",
                 ""};
  for (const auto& [name, value] : {std::pair{"--plane-ca", &address_.ca_file},
                                    {"--client-cert", &address_.client_cert_file},
                                    {"--plane-proxy", &address_.proxy},
                                    {"--plane-timeout", &plane_timeout_}})
    if (!value->empty())
      return Error{ErrorKind::kInvalid, "cli.way_without_plane",
                   std::string(name) + " goes with --plane", ""};
  WRIT_ASSIGN(plane_, OpenPlane(context.dir, clock_));
  return MakeLocalRequester(*plane_, LocalUser());
}

}  // namespace writ::cli
