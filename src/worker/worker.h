// The worker process: one connection to the driver, served by an I/O thread, and as many
// task threads as it has slots.
#ifndef SHOAL_WORKER_WORKER_H
#define SHOAL_WORKER_WORKER_H

#include "task/executor.h"

// secret_fd brings the run's secret (engine/handshake.h). Serves the driver on fd until
// it says bye or goes away. Returns the process's exit code.
int worker_serve(int fd, int secret_fd, const struct executor_ops *executor);

// `shoal worker --fd N --secret-fd M`.
int worker_main(int argc, char **argv);

#endif
