// doctor: what this machine can do for runs, layer by layer, with cause and mend.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "context.h"
#include "doctor.h"

namespace writ::cli {

void AddDoctor(CLI::App& app, Context& context) {
  auto setup = std::make_shared<RunnerSetup>();
  CLI::App* doctor = app.add_subcommand(
      "doctor",
      "Look at everything that a run needs here, and say what is missing and what mends it");
  doctor->add_option("--pool", setup->pool, "Pool of the runner that is meant");
  doctor->add_option("--plane", setup->plane.url, "A plane to reach for");
  doctor->add_option("--plane-ca", setup->plane.ca_file, "PEM CA of the plane's certificate");
  doctor->add_option("--plane-proxy", setup->plane.proxy,
                     "Corporate proxy on the way to the plane");
  doctor->add_option("--client-cert", setup->plane.client_cert_file,
                     "PEM certificate, where the plane asks for one");
  doctor->add_option("--client-key", setup->plane.client_key_file, "PEM key of --client-cert");
  doctor->add_option("--config", setup->config_file,
                     "Operator's configuration (default: runner.json in --dir, where it is)");
  doctor->footer(
      "First the isolation ladder: each tier, what holds each aspect and limit of a job in it, "
      "and\n"
      "why not, with what mends it. Then every other layer. Capabilities are tried, not guessed;\n"
      "nothing is changed, and a runner that works here is not disturbed.\n\n"
      "Examples:\n  writ doctor\n  writ doctor --json\n"
      "  writ doctor --plane https://plane.example.com --plane-ca ca.pem\n\n"
      "Exit: 0 runs can be done here, 1 something that they need is missing.");
  doctor->callback([&context, setup] {
    setup->dir = context.dir;
    auto report = Examine(*setup);
    if (!report) return context.Fail(kFailed, report.error());
    if (context.json)
      context.PrintJson(DoctorJson(*report));
    else
      context.Print(RenderDoctor(*report));
    if (!report->usable) context.exit_code = kFailed;
  });
}

}  // namespace writ::cli
