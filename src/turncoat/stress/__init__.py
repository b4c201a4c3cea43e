"""How strong a rule really is: a frozen suite of clouds, attacks and searches, scores and witnesses."""
