// Access: --plane and the options of the way to it (--token-file, --plane-ca, --client-cert,
// --client-key, --plane-proxy, --plane-timeout), which every command about runs has, and the
// Requester that comes of them. Without --plane the plane of --dir on this machine is meant,
// running or not.
#pragma once

#include <memory>
#include <string>

#include "context.h"
#include "requester.h"
#include "writ/base/clock.h"

namespace CLI {
class App;
}

namespace writ::cli {

class Access {
 public:
  // Adds the options to `command`. The object must outlive the parse.
  void AddOptions(CLI::App& command);
  bool local() const { return address_.url.empty(); }
  const PlaneAddress& address() const { return address_; }
  // What a command to type next needs to find the same plane: "", or " --plane URL ...".
  std::string Arguments() const;
  // Opens the local plane, or reaches for the far one.
  Result<std::unique_ptr<Requester>> Open(const Context& context);
  // The opened local plane; nullptr for a far one or before Open.
  plane::Plane* plane() { return plane_.get(); }
  const Clock& clock() const { return clock_; }

 private:
  PlaneAddress address_;
  std::string plane_timeout_;  // as typed
  SystemClock clock_;
  std::unique_ptr<plane::Plane> plane_;
};

}  // namespace writ::cli
