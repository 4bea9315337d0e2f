// The one clock: seconds since some moment in the past, never set back.
#ifndef SHOAL_BASE_CLOCK_H
#define SHOAL_BASE_CLOCK_H

double clock_seconds(void);

#endif
