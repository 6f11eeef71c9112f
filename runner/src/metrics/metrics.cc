#include "metrics/metrics.h"

#include <array>
#include <cstdio>

namespace writ::runner {
namespace {

enum class Type { kCounter, kGauge, kHistogram };
struct About {
  const char* name;
  const char* help;
  Type type;
};

About AboutOf(Family family) {
  switch (family) {
    case Family::kRuns:
      return {"writ_runner_runs_total", "Runs that ended, by status and failure class.",
              Type::kCounter};
    case Family::kActive:
      return {"writ_runner_runs_active", "Runs in work.", Type::kGauge};
    case Family::kStepSeconds:
      return {"writ_runner_step_seconds", "Time to each point of a session, from the one before.",
              Type::kHistogram};
    case Family::kRunSeconds:
      return {"writ_runner_run_seconds", "From the claim of a run to its delivered receipt.",
              Type::kHistogram};
    case Family::kQueueSeconds:
      return {"writ_runner_queue_wait_seconds",
              "From the request of a run to its claim, by the plane's clock.", Type::kHistogram};
    case Family::kOffers:
      return {"writ_runner_offers_total", "Offered runs, by what became of them.", Type::kCounter};
    case Family::kLeases:
      return {"writ_runner_leases_held", "Leases held.", Type::kGauge};
    case Family::kLeaseEvents:
      return {"writ_runner_lease_events_total", "Changes of leases.", Type::kCounter};
    case Family::kSlots:
      return {"writ_runner_slots", "Slots, by state.", Type::kGauge};
    case Family::kJournal:
      return {"writ_runner_journal_runs", "Runs in the journal, by state.", Type::kGauge};
    case Family::kUploads:
      return {"writ_runner_uploads_total", "Blobs for the plane, by result.", Type::kCounter};
    case Family::kUploadBytes:
      return {"writ_runner_upload_bytes_total", "Bytes of blobs sent to the plane.",
              Type::kCounter};
    case Family::kProxyDecisions:
      return {"writ_runner_proxy_decisions_total", "Flows that egress proxies decided on.",
              Type::kCounter};
    case Family::kLeaks:
      return {"writ_runner_leaks_total", "Things of isolations that were left after a run.",
              Type::kCounter};
    case Family::kHooks:
      return {"writ_runner_hooks_total", "Hooks that ran, by result.", Type::kCounter};
    case Family::kHookSeconds:
      return {"writ_runner_hook_seconds", "How long hooks took.", Type::kHistogram};
    case Family::kReady:
      return {"writ_runner_ready", "1 where a session could be started now.", Type::kGauge};
    case Family::kDraining:
      return {"writ_runner_draining", "1 where no more runs are claimed.", Type::kGauge};
  }
  return {"writ_runner_unknown", "", Type::kGauge};
}

constexpr std::array kBounds = {0.005, 0.025, 0.1, 0.25, 0.5,  1.0,   2.5,
                                5.0,   15.0,  60., 300., 900., 3600., 14400.};

std::string Number(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.15g", value);
  return out;
}

std::string LabelText(const Metrics::Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    out.append(out.empty() ? "" : ",").append(name).append("=\"");
    for (char c : value) {
      if (c == '\\' || c == '"') out += '\\';
      out += c == '\n' ? ' ' : c;
    }
    out += '"';
  }
  return out;
}

std::string Line(const std::string& name, const std::string& labels, const std::string& value) {
  return name + (labels.empty() ? "" : "{" + labels + "}") + " " + value + "\n";
}

}  // namespace

void Metrics::Add(Family family, const Labels& labels, std::uint64_t by) {
  std::lock_guard lock(mutex_);
  series_[family][LabelText(labels)].value += static_cast<double>(by);
}

void Metrics::Set(Family family, const Labels& labels, double value) {
  std::lock_guard lock(mutex_);
  series_[family][LabelText(labels)].value = value;
}

void Metrics::Observe(Family family, const Labels& labels, std::chrono::milliseconds span) {
  const double seconds = static_cast<double>(span.count()) / 1000.0;
  std::lock_guard lock(mutex_);
  Series& series = series_[family][LabelText(labels)];
  series.buckets.resize(kBounds.size());
  series.value += seconds;
  ++series.count;
  for (std::size_t i = 0; i < kBounds.size(); ++i)
    if (seconds <= kBounds[i]) ++series.buckets[i];
}

std::string Metrics::Text() const {
  static constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [family, all] : series_) {
    const About about = AboutOf(family);
    const std::string name = about.name;
    out += "# HELP " + name + " " + about.help + "\n# TYPE " + name + " " +
           kTypes[static_cast<int>(about.type)] + "\n";
    for (const auto& [labels, series] : all) {
      if (about.type != Type::kHistogram) {
        out += Line(name, labels, Number(series.value));
        continue;
      }
      const std::string before = labels.empty() ? "" : labels + ",";
      for (std::size_t i = 0; i < series.buckets.size(); ++i)
        out += Line(name + "_bucket", before + "le=\"" + Number(kBounds[i]) + "\"",
                    std::to_string(series.buckets[i]));
      out += Line(name + "_bucket", before + "le=\"+Inf\"", std::to_string(series.count));
      out += Line(name + "_sum", labels, Number(series.value));
      out += Line(name + "_count", labels, std::to_string(series.count));
    }
  }
  return out;
}

}  // namespace writ::runner
