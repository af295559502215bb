"""Pure decisions: functions of state and of the time passed in; no clock, no input or output."""
