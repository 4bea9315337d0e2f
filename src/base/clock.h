// The one clock: seconds since some moment in the past, never set back.
#ifndef SHOAL_BASE_CLOCK_H
#define SHOAL_BASE_CLOCK_H

double clock_seconds(void);

// How long another process may be silent: the usual seconds, and less in tests, which
// can't wait (SHOAL_SILENT_SECONDS, from 1 on).
double clock_silent_seconds(double usual);

#endif
