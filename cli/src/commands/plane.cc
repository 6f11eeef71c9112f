// plane start
#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "signals.h"
#include "writ/base/clock.h"
#include "writ/plane/http_server.h"

namespace writ::cli {
namespace {

struct PlaneCommand {
  plane::HttpServerOptions server;
  plane::TlsFiles tls;
};

void StartPlane(Context& context, PlaneCommand& command) {
  if (command.tls.certificate.empty() != command.tls.key.empty())
    return context.Fail(
        Error{ErrorKind::kInvalid, "cli.half_tls", "--tls-cert and --tls-key go together", ""});
  if (command.tls.certificate.empty() && !command.tls.client_ca.empty())
    return context.Fail(Error{ErrorKind::kInvalid, "cli.half_tls",
                              "--client-ca goes with --tls-cert and --tls-key", ""});
  auto signals = StopSignals::Block();
  if (!signals) return context.Fail(signals.error());
  SystemClock clock;
  auto opened = OpenPlane(context.dir, clock);
  if (!opened) return context.Fail(opened.error());
  plane::HttpServerOptions options = command.server;
  if (!command.tls.certificate.empty()) options.tls = command.tls;
  auto server = plane::HttpServer::Start(**opened, clock, options);
  if (!server)
    return context.Fail(server.error().code == "plane.plain_http" ? kUsage : kFailed,
                        server.error());
  if (context.json) {
    context.PrintJson(json::Object{{"url", (*server)->url()},
                                   {"port", (*server)->port()},
                                   {"keyId", (*opened)->key_id()},
                                   {"planeKey", context.dir + "/keys/plane.pub.pem"}});
  } else {
    context.Print("plane is serving at " + (*server)->url() + "\n" + "key " + (*opened)->key_id() +
                  ", runners pin " + context.dir + "/keys/plane.pub.pem\n");
    context.Note("stop it with Ctrl-C or SIGTERM");
  }
  (void)signals->Wait(-1);
  context.Note("stopping");
  (*opened)->Interrupt();
  (*server)->Stop();
}

}  // namespace

void AddPlane(CLI::App& app, Context& context) {
  CLI::App* plane =
      app.add_subcommand("plane", "The control plane: contracts, policy, consent, receipts, blobs");
  plane->require_subcommand(1);
  auto options = std::make_shared<PlaneCommand>();
  CLI::App* start =
      plane->add_subcommand("start", "Serve the plane of --dir over HTTP until a signal comes");
  start
      ->add_option("--host", options->server.host,
                   "Address to bind; without TLS only a loopback one")
      ->capture_default_str();
  start->add_option("--port", options->server.port, "Port (0: any free one, printed)")
      ->capture_default_str();
  start->add_option("--tls-cert", options->tls.certificate, "PEM certificate chain");
  start->add_option("--tls-key", options->tls.key, "PEM private key of the certificate");
  start->add_option("--client-ca", options->tls.client_ca,
                    "PEM CA; every client then needs a certificate of it");
  start->footer(
      "Examples:\n  writ plane start --port 8443 --host 0.0.0.0 --tls-cert plane.crt --tls-key "
      "plane.key\n  writ plane start --port 7070");
  start->callback([&context, options] { StartPlane(context, *options); });
}

}  // namespace writ::cli
