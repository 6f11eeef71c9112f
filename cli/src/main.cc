// writ: the one binary. This file knows which commands there are and what is global; nothing else.
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <string>

#include "commands/commands.h"
#include "context.h"
#include "home.h"
#include "usage.h"
#include "writ/base/close_descriptors.h"
#ifdef WRIT_FAULTS
#include "writ/base/fault.h"
#endif
#include "writ/base/error_text.h"
#include "writ/base/log.h"

namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  writ init\n"
    "  writ run \"make test\"\n"
    "  writ receipt run_1234\n"
    "  writ pull run_1234\n"
    "  writ bundle run_1234 --out run.json && writ-verify run.json\n"
    "  writ COMMAND --help\n\n"
    "Exit codes: 0 done, 1 the run, the verification or the command failed, 2 usage or unreadable\n"
    "input, 3 denied by policy or by the plane's roles, 4 cancelled, 5 waiting for approval,\n"
    "6 plane unreachable.";

// The end of every command. A reader that has left (`| head`) has what it wanted; what a full disk
// did not take is a failure of a command that was done.
void ReportLostOutput(writ::cli::Context& context) {
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good()) return;
  pollfd out{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0) return;
  const writ::Error lost{writ::ErrorKind::kUnavailable, "cli.output_failed",
                         "standard output could not be written; what it has is not whole",
                         "look whether its disk is full"};
  std::fputs(("writ: " + writ::ErrorText(lost)).c_str(), stderr);
  if (context.exit_code == writ::cli::kDone) context.exit_code = writ::cli::kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  // Keys, tokens and secrets are in this process's memory: it leaves no core file (L8).
  const rlimit none{0, 0};
  (void)::setrlimit(RLIMIT_CORE, &none);
  writ::RaiseDescriptorLimit();
  writ::cli::Context context;
  std::string dir;
  std::string log_level;

  CLI::App app{"Run coding agents and other jobs under a signed contract, with a signed receipt."};
  app.name("writ");
  app.require_subcommand(1);
  app.fallthrough();  // global options may stand behind the command too
  app.set_version_flag("--version", "writ " WRIT_VERSION);
  app.add_option("--dir", dir,
                 "State, keys and configuration (default: $WRIT_DIR, else /var/lib/writ for root, "
                 "else $XDG_DATA_HOME/writ)");
  app.add_flag("--json", context.json,
               "Print one JSON value on standard output (export: JSON lines)");
  app.add_option("--log-level", log_level,
                 "Log to standard error from this level on: debug, info, warn, error, off "
                 "(default: warn for plane and runner, "
                 "error for the rest, which report by themselves)")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}));
  app.add_flag("--log-json", context.log_json,
               "Log as JSON lines; notes and errors too, on standard error");
#ifdef WRIT_FAULTS
  app.add_flag_callback(
      "--list-faults",
      [] {
        for (std::string_view point : writ::fault::kPoints)
          std::fwrite((std::string(point) + "\n").c_str(), 1, point.size() + 1, stdout);
        throw CLI::Success();
      },
      "Print the fault points of this build (WRIT_FAULT=NAME:kill|stall|fail[:NTH])");
#endif
  // Runs when the whole line is parsed and before any command.
  app.parse_complete_callback([&] {
    using writ::log::Level;
    Level level = log_level == "debug"  ? Level::kDebug
                  : log_level == "info" ? Level::kInfo
                  : log_level == "warn" ? Level::kWarn
                  : log_level == "off"  ? Level::kOff
                                        : Level::kError;
    if (log_level.empty() && (app.got_subcommand("plane") || app.got_subcommand("runner")))
      level = Level::kWarn;
    writ::log::Configure(level,
                         context.log_json ? writ::log::Format::kJson : writ::log::Format::kText);
    if (dir.empty() && app.count("--dir") > 0) {  // an unset variable of a script
      context.Fail({writ::ErrorKind::kInvalid, "cli.empty_dir", "--dir is empty",
                    "name a directory, or leave --dir out for the default"});
      throw CLI::RuntimeError(context.exit_code);
    }
    auto found = dir.empty() ? writ::cli::DefaultDir() : writ::cli::RealDir(dir);
    if (!found) {
      context.Fail(found.error());
      throw CLI::RuntimeError(context.exit_code);
    }
    context.dir = *found;
    if (!dir.empty()) context.self = "writ --dir " + writ::cli::ShellWord(*found);
  });

  using namespace writ::cli;
  AddInit(app, context);
  AddRun(app, context);
  AddRuns(app, context);
  AddSession(app, context);
  AddCheckpoint(app, context);
  AddCopy(app, context);
  AddArtifacts(app, context);
  AddReceipt(app, context);
  AddPull(app, context);
  AddSecrets(app, context);
  AddPolicy(app, context);
  AddPlane(app, context);
  AddPlaneKeys(app, context);
  AddPlaneGc(app, context);
  AddRunner(app, context);
  AddRunners(app, context);
  AddRunnerAdmin(app, context);
  AddTokens(app, context);
  AddExport(app, context);
  AddCanonicalize(app, context);
  AddConfig(app, context);
  AddDoctor(app, context);
  AddBackup(app, context);
  AddImage(app, context);
  AddSnapshot(app, context);
  AddShell(app, context);
  NameOperands(app);
  app.footer(kFooter);  // behind the commands, which would inherit it

  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& error) {
    return error.get_exit_code();  // reported already
  } catch (const CLI::CallForVersion& error) {
    if (app.count("--json") > 0) {
      std::cout << "{\"version\": \"" WRIT_VERSION "\"}\n";
    } else {
      app.exit(error);
    }
  } catch (const CLI::Success& error) {
    app.exit(error);  // help
  } catch (const CLI::ParseError& error) {
    context.Fail(kUsage, ExplainUsage(app, error));
  }
  ReportLostOutput(context);
  return context.exit_code;
}
