// Where things are: the state directory, and the programs that writ starts.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/plane/plane.h"

namespace writ::cli {

struct FlagSetting;
struct PlaneSettings;

// Without links: $WRIT_DIR, else /var/lib/writ for root, else $XDG_DATA_HOME/writ or
// ~/.local/share/writ.
Result<std::string> DefaultDir();
// Absolute and lexically normal, without asking the file system.
std::string AbsolutePath(const std::string& path);
// Writes a file that was asked for by name, whole or not at all; through a link, and into a device
// or a pipe. What is wrong with the place is kInvalid (usage), a full disk stays its own error;
// both name the file.
Status WriteOutput(const std::string& absolute, std::string_view bytes);
// The directory that it is or would be, whatever links lead to it (a home that was moved): what is
// below the state directory is never reached through a link.
std::string RealDir(const std::string& path);

struct Programs {
  std::string launch;        // writ-launch
  std::string egress_proxy;  // writ-egress-proxy
  std::string mock_agent;    // writ-mock-agent
  std::string machine;       // writ-vm
  std::string guest_agent;   // writ-guest-agent
  std::string pages;         // writ-pages
  std::string preload;       // libwrit-uffd.so
};
// Beside this program (a build tree), else ../libexec/writ (installed). kNotFound
// "cli.program_missing".
Result<Programs> FindPrograms();

// An error of opening or making `dir`, said so that its reader knows what to do: another user's
// directory is kDenied "cli.dir_unreadable", one without a plane has the hint to run `writ init`.
Error ExplainDirError(Error error, const std::string& dir);
// config.json of `dir` below the environment and these flags; the defaults where there is no file.
Result<PlaneSettings> ReadPlaneSettings(const std::string& dir, std::vector<FlagSetting> flags);
// Opens the plane of `dir`; errors as ExplainDirError has them.
Result<std::unique_ptr<plane::Plane>> OpenPlane(const std::string& dir, const Clock& clock);

// `word` as a shell takes it back unchanged: as it is, or between quotation marks.
std::string ShellWord(std::string_view word);

// user@host of the person at this terminal, for `requestedBy` and `actor` in local use.
std::string LocalUser();

}  // namespace writ::cli
