#include "bmc_emu/daemon/options.h"

#include <CLI/CLI.hpp>

namespace bmcpair::daemon {

ParsedOptions parse_options(int argc, const char* const* argv) {
  ParsedOptions out;
  Options& o = out.options;
  CLI::App app{"bmc_emu: serves the virtual BMCs of a configuration file over gRPC and vfio-user.", "bmc_emu"};
  std::string log_format = "text";
  app.add_option("CONFIG", o.config, "The configuration, a YAML file (configs/demo.yaml explains itself)")
      ->envname("BMCPAIR_CONFIG");
  app.add_option("--listen", o.listen,
                 "gRPC address, may be given several times, or with ',' between: unix:PATH (mode 0600), HOST:PORT, or :PORT for 127.0.0.1. "
                 "Replaces those of the configuration. Default: a unix socket, bmc_emu.sock in the run directory")
      ->allow_extra_args(false)
      ->delimiter(',')
      ->envname("BMCPAIR_LISTEN")
      ->type_name("ADDRESS");
  app.add_option("--state", o.state, "Directory where SEL, FRU writes, users, settings and clocks survive a restart")
      ->envname("BMCPAIR_STATE")
      ->type_name("DIR");
  app.add_option(
         "--run-dir", o.run_directory,
         "Directory for sockets, ${RUN} in the configuration; made with mode 0700. Default: $XDG_RUNTIME_DIR/bmcpair, "
         "else /run/bmcpair for root and /tmp/bmcpair-UID for others")
      ->envname("BMCPAIR_RUN_DIR")
      ->type_name("DIR");
  app.add_flag("--private", o.only_run_directory,
               "Only gRPC, and only on bmc_emu.sock in the run directory, whatever addresses and sockets the configuration names; its "
               "state folder is not touched either. --listen and --state are as given");
  app.add_flag("--check", o.check, "Check the configuration and end");
  app.add_flag("--schema", o.schema, "Print the configuration's JSON schema and end");
  app.add_option("--log-level", o.log_level, "trace, debug, info, warning or error")
      ->envname("BMCPAIR_LOG_LEVEL")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}));
  app.add_option("--log-format", log_format,
                 "text: what it listens on goes to standard output, the log to standard error; json: both to standard "
                 "output, one JSON object a line")
      ->envname("BMCPAIR_LOG_FORMAT")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "Workers that run BMCs (1 to 64)")
      ->envname("BMCPAIR_THREADS")
      ->check(CLI::Range(1u, 64u));
  app.add_flag("--stop-with-stdin", o.stop_with_stdin,
               "Stop as by SIGTERM when standard input ends: with the other end of a pipe, however that one ended");
  app.add_option("--tls-cert", o.tls_certificate, "PEM file: certificate chain, for HOST:PORT addresses")
      ->envname("BMCPAIR_TLS_CERT")
      ->type_name("FILE");
  app.add_option("--tls-key", o.tls_key, "PEM file: its private key")->envname("BMCPAIR_TLS_KEY")
      ->type_name("FILE");
  app.add_option("--tls-client-ca", o.tls_client_ca, "PEM file: clients must show a certificate that it signed")
      ->envname("BMCPAIR_TLS_CLIENT_CA")
      ->type_name("FILE");
  app.set_version_flag("--version", "bmc_emu 0.1.0");
  app.footer(
      "It prints what it listens on, then \"bmc_emu: ready\". SIGTERM or SIGINT stops it within a second.\n"
      "What stands after (Env:...) in this text is read from the environment where the option is not given.\n"
      "Exit codes: 0 stopped as asked, or --check found no mistake; 1 internal failure; 2 wrong command line;\n"
      "3 wrong configuration; 4 an address, socket, directory or the stored state cannot be used.");
  try {
    app.parse(argc, argv);
    o.json = log_format == "json";
    if (!o.schema && o.config.empty()) throw CLI::RequiredError("CONFIG");
    if (o.tls_certificate.empty() != o.tls_key.empty())
      throw CLI::ValidationError("--tls-cert and --tls-key go together");
    if (!o.tls_client_ca.empty() && o.tls_key.empty())
      throw CLI::ValidationError("--tls-client-ca needs --tls-cert and --tls-key");
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);
    out.exit_code = code == 0 ? kExitOk : kExitUsage;
  }
  return out;
}

}  // namespace bmcpair::daemon
