// Stands in for DuckDB in a worker of a test: the task's SQL is what to do. "fail",
// "die", "disk", "memory" (it fails so), "deaf", "busy", "stop", "sleep" (it takes for
// ever, and only the last is ended by an interrupt); all else is done, and makes as many
// rows as its task's number, in partition number % 4. An init file "bad" can't be opened.
// FAKE_VERSION in the environment is the engine's version, "v1" without it.
#ifndef SHOAL_TEST_FAKE_EXECUTOR_H
#define SHOAL_TEST_FAKE_EXECUTOR_H

#include "task/executor.h"

extern const struct executor_ops fake_executor;

#endif
