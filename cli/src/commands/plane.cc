// plane start
#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <memory>
#include <optional>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "settings.h"
#include "signals.h"
#include "writ/base/clock.h"
#include "writ/base/log.h"
#include "writ/base/service_manager.h"
#include "writ/plane/http_server.h"

namespace writ::cli {
namespace {

struct PlaneCommand {
  std::string host, tls_cert, tls_key, client_ca, metrics;
  std::optional<int> port;

  std::vector<FlagSetting> Flags() const {
    std::vector<FlagSetting> out;
    auto text = [&](const char* name, const char* flag, const std::string& value) {
      if (!value.empty()) out.push_back({name, json::Value(value), flag});
    };
    text("serve.host", "--host", host);
    if (port) out.push_back({"serve.port", json::Value(*port), "--port"});
    text("serve.tlsCert", "--tls-cert", tls_cert);
    text("serve.tlsKey", "--tls-key", tls_key);
    text("serve.clientCa", "--client-ca", client_ca);
    text("serve.metrics", "--metrics", metrics);
    return out;
  }
};

// A plane and the server in front of it. A reload replaces both: all state is in the directory, so
// the new ones go on where the old ones stood.
struct Serving {
  std::unique_ptr<plane::Plane> plane;
  std::unique_ptr<plane::HttpServer> server;

  void Stop() {
    plane->Interrupt();
    server->Stop();
  }
};

// What is wrong with a new configuration is found before the old server is touched. An error
// leaves the old one serving, except for "plane.reload_failed": then nothing serves any more.
Status Reload(Serving& serving, plane::HttpServerOptions& options, const std::string& dir,
              const PlaneCommand& command, const Clock& clock) {
  WRIT_ASSIGN(PlaneSettings next, ReadPlaneSettings(dir, command.Flags()));
  const bool moved = next.serve.host != options.host ||
                     (next.serve.port != 0 && next.serve.port != serving.server->port()) ||
                     next.serve.tls.has_value() != options.tls.has_value() ||
                     next.serve.metrics != options.metrics;
  plane::HttpServerOptions wanted = options;
  wanted.port = serving.server->port();
  if (next.serve.tls.has_value() == options.tls.has_value()) wanted.tls = next.serve.tls;
  WRIT_ASSIGN(std::unique_ptr<plane::Plane> plane,
              plane::Plane::Open(plane::PlaneOptions{dir, next.config}, clock));
  {
    plane::HttpServerOptions trial = wanted;  // the certificates
    trial.host = "127.0.0.1";
    trial.port = 0;
    trial.metrics.clear();  // the old server has it still
    WRIT_ASSIGN(auto tried, plane::HttpServer::Start(*plane, clock, trial));
  }
  serving.Stop();
  auto server = plane::HttpServer::Start(*plane, clock, wanted);
  if (!server) {
    Error error = std::move(server).error();
    error.code = "plane.reload_failed";
    return error;
  }
  serving.server = std::move(*server);
  serving.plane = std::move(plane);
  options = wanted;
  if (moved)
    log::Warn("plane.reloaded",
              "the configuration was read again; what needs a restart keeps its "
              "old value",
              {{"kept", "serve.host, serve.port, serve.metrics, TLS on or off"}});
  else
    log::Info("plane.reloaded", "the configuration was read again");
  return {};
}

void StartPlane(Context& context, PlaneCommand& command) {
  auto signals = StopSignals::Block();
  if (!signals) return context.Fail(signals.error());
  ServiceManager manager = ServiceManager::FromEnvironment();
  SystemClock clock;
  auto settings = ReadPlaneSettings(context.dir, command.Flags());
  if (!settings) return context.Fail(settings.error());
  Serving serving;
  auto opened = OpenPlane(context.dir, clock);
  if (!opened) return context.Fail(opened.error());
  serving.plane = std::move(*opened);
  plane::HttpServerOptions options = settings->serve;
  auto server = plane::HttpServer::Start(*serving.plane, clock, options);
  if (!server) {
    const std::string& code = server.error().code;
    const bool told_wrong = code == "plane.plain_http" || code == "plane.tls";
    return context.Fail(told_wrong ? kUsage : kFailed, server.error());
  }
  serving.server = std::move(*server);
  const std::string url = serving.server->url();
  if (context.json) {
    context.PrintJson(json::Object{{"url", url},
                                   {"port", serving.server->port()},
                                   {"keyId", serving.plane->key_id()},
                                   {"planeKey", context.dir + "/keys/plane.pub.pem"}});
  } else {
    context.Print("plane is serving at " + url + "\n" + "key " + serving.plane->key_id() +
                  ", runners pin " + context.dir + "/keys/plane.pub.pem\n");
    context.Note("stop it with Ctrl-C or SIGTERM");
  }
  manager.Ready("serving at " + url);
  const auto wanted = manager.watchdog();
  const int pace =
      wanted ? static_cast<int>(std::clamp<std::int64_t>(wanted->count() / 3000, 50, 30'000)) : -1;
  for (;;) {
    const int signal = signals->Wait(pace);
    if (signal == 0) {
      Status well = serving.plane->Ready();
      if (well) well = serving.server->Alive();
      if (well)
        manager.Alive();
      else
        log::Error("plane.not_ready", well.error().ToString(), {{"code", well.error().code}});
      continue;
    }
    if (signal != SIGHUP) break;
    manager.Reloading();
    if (Status done = Reload(serving, options, context.dir, command, clock); !done) {
      if (done.error().code == "plane.reload_failed") return context.Fail(kFailed, done.error());
      log::Error("plane.reload_refused",
                 "the configuration cannot be taken; the one from before stays",
                 {{"code", done.error().code}, {"error", done.error().ToString()}});
    }
    manager.Ready("serving at " + url);
  }
  manager.Stopping("stopping");
  context.Note("stopping");
  serving.Stop();
}

}  // namespace

void AddPlane(CLI::App& app, Context& context) {
  CLI::App* plane =
      app.add_subcommand("plane", "The control plane: contracts, policy, consent, receipts, blobs");
  plane->require_subcommand(1);
  plane->footer(
      "Examples:\n  writ plane start --port 7070\n  writ plane keys > keys.json\n  writ plane "
      "rotate-key\n  writ plane gc --dry-run");
  auto options = std::make_shared<PlaneCommand>();
  CLI::App* start =
      plane->add_subcommand("start", "Serve the plane of --dir over HTTP until a signal comes");
  start->add_option("--host", options->host,
                    "Address to bind; without TLS only a loopback one (default: 127.0.0.1)");
  start->add_option("--port", options->port, "Port (0: any free one, printed; default: 0)")
      ->check(CLI::Range(0, 65535));
  start->add_option("--tls-cert", options->tls_cert, "PEM certificate chain");
  start->add_option("--tls-key", options->tls_key, "PEM private key of the certificate");
  start->add_option("--client-ca", options->client_ca,
                    "PEM CA; every client then needs a certificate of it");
  start->add_option("--metrics", options->metrics,
                    "Serve /healthz, /readyz and /metrics at 127.0.0.1:PORT, [::1]:PORT or "
                    "unix:/PATH");
  start->footer(
      "Examples:\n  writ plane start --port 8443 --host 0.0.0.0 --tls-cert plane.crt --tls-key "
      "plane.key\n  writ plane start --port 7070\n\n"
      "SIGTERM and Ctrl-C stop it; SIGHUP reads config.json and the certificates again. Settings "
      "come\n"
      "from the command line, then from the environment (WRIT_PLANE_SERVE_PORT), then from the "
      "file:\n"
      "see `writ config show --effective`.");
  start->callback([&context, options] { StartPlane(context, *options); });
}

}  // namespace writ::cli
