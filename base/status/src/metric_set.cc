#include "writ/base/status/metric_set.h"

#include <array>
#include <cstdio>

namespace writ::status {
namespace {

constexpr std::array kBounds = {0.005, 0.025, 0.1, 0.25, 0.5,  1.0,   2.5,
                                5.0,   15.0,  60., 300., 900., 3600., 14400.};

std::string Number(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.15g", value);
  return out;
}

std::string LabelText(const Labels& labels) {
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

void MetricSet::Add(std::size_t family, const Labels& labels, std::uint64_t by) {
  std::lock_guard lock(mutex_);
  series_[family][LabelText(labels)].value += static_cast<double>(by);
}

void MetricSet::Set(std::size_t family, const Labels& labels, double value) {
  std::lock_guard lock(mutex_);
  series_[family][LabelText(labels)].value = value;
}

void MetricSet::Observe(std::size_t family, const Labels& labels, std::chrono::milliseconds span) {
  const double seconds = static_cast<double>(span.count()) / 1000.0;
  std::lock_guard lock(mutex_);
  Series& series = series_[family][LabelText(labels)];
  series.buckets.resize(kBounds.size());
  series.value += seconds;
  ++series.count;
  for (std::size_t i = 0; i < kBounds.size(); ++i)
    if (seconds <= kBounds[i]) ++series.buckets[i];
}

std::string MetricSet::Text() const {
  static constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [family, all] : series_) {
    const MetricFamily& about = families_[family];
    const std::string name = about.name;
    out += "# HELP " + name + " " + about.help + "\n# TYPE " + name + " " +
           kTypes[static_cast<int>(about.type)] + "\n";
    for (const auto& [labels, series] : all) {
      if (about.type != MetricType::kHistogram) {
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

}  // namespace writ::status
